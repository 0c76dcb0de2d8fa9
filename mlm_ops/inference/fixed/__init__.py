"""Test fixed effects: degrees of freedom, Kenward-Roger, robust errors, contrasts."""
