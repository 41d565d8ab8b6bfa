"""The training loop and what it stands on: start with `loop.py`."""
