"""Which plugins are installed, what they declare, and the calls of one run."""
