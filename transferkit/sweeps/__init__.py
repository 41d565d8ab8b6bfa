"""Many runs of one recipe: planned as cells, executed on one machine or many, and set side by side in one table."""
