"""A model in use: the detector beside it, one graph for both, and what was seen in service.

Nothing here imports the trainer, recipes or plugins.
"""
