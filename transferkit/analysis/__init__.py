"""What looks at finished models: the session analyzers see, and the report of a run."""
