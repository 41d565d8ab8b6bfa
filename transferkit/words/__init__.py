"""Words for people: how numbers, names and lists are written, what may be printed, and what was probably meant."""
