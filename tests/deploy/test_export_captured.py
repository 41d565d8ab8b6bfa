"""What libraries say is kept, and everything is as it was afterwards."""

from __future__ import annotations

import logging
import sys
import warnings

import pytest

from transferkit.deploy.export import captured, tail


def bound(name):
    """A library's logger with a handler that was bound to the terminal when the library was imported."""
    found = logging.getLogger(name)
    found.propagate = False
    found.handlers = [logging.StreamHandler(sys.stderr)]
    return found


def test_prints_logs_and_warnings_are_kept(capsys):
    logger = bound("loud.library")
    with captured() as log:
        print("printed")
        print("complained", file=sys.stderr)
        logger.warning("logged")
        warnings.warn("warned", FutureWarning, stacklevel=1)
    assert capsys.readouterr() == ("", "")
    assert all(word in log.getvalue() for word in ("printed", "complained", "logged", "FutureWarning: warned"))


def test_afterwards_everything_speaks_again(capsys):
    logger = bound("loud.library")
    with pytest.raises(ValueError, match="broken"), captured():
        made = bound("made.inside")
        raise ValueError("broken")
    logger.warning("again")
    made.warning("me too")
    print("and I")
    out, err = capsys.readouterr()
    assert (out, err) == ("and I\n", "again\nme too\n")


def test_only_the_last_lines_are_shown():
    with captured() as log:
        print("\n".join(map(str, range(100))))
    assert tail(log).splitlines() == [str(number) for number in range(60, 100)]
