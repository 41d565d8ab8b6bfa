"""How many cores there are for us."""

from __future__ import annotations

import os


def cores() -> int:
    """The cores that this process may use; where nobody says, those of the machine."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
