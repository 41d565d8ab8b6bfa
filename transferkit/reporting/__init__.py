"""The page of a run or an audit, and the drawings that are made for it."""
