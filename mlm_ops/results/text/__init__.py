"""Write fits as text: the printed summary, models side by side."""
