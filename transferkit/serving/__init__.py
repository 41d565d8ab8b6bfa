"""`transferkit serve`: a model folder behind HTTP, with its detector, limits and metrics.

One process: uvicorn's event loop reads and answers, threads decode and compute. `settings`, `refusals`, `threads`,
`batcher`, `intake`, `engine` and `predictor` know nothing of the web.
"""
