"""Watching after the fire: one thread per source of evidence, one loop that folds them."""
