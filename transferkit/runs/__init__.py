"""Runs on disk and on their way: the folder, its lock, the runner, seeds, comparison, replay."""
