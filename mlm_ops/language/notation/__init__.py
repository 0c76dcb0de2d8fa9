"""A model written out: equations in several alphabets, formulas, and the input of other programs."""
