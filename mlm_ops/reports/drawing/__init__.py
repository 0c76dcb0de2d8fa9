"""Draw pictures as SVG, PNG and files: the only folder that imports ``vl_convert``, when a picture is drawn."""
