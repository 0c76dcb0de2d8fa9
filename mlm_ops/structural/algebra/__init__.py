"""What the parameters of a structural model imply: moments of each level, definitions, equations, identification."""
