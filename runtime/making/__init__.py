"""What generative networks make: by their entries, from noise, from numbers that are set, from pictures."""
