"""What a fit says about size: shares of variance."""
