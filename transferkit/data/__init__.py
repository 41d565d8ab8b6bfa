"""Data sets, subsets, per-sample randomness, and the loaders that turn them into batches."""
