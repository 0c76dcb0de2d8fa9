"""Numbers only: arrays in, frozen records out."""
