"""Write fits and tables as text: the printed summary, models side by side, tables."""
