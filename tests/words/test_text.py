"""Text from elsewhere: compared in one form, shown without harm."""

import pytest

from transferkit.words.text import comparable, printable


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("tulip", "tulip"),
        ("Löwenzahn 蒲公英 🌼", "Löwenzahn 蒲公英 🌼"),
        ("\x1b[2J\x1b]0;owned\x07", "\\x1b[2J\\x1b]0;owned\\x07"),
        (b"caf\xe9".decode("utf-8", "surrogateescape"), "caf\\xe9"),
        ("\ud83d", "\\ud83d"),
        ("two\nlines\tand more", "two\nlines\tand more"),
        ("over\rwritten", "over\\x0dwritten"),
        ("right\u202eto left", "right\\u202eto left"),
    ],
)
def test_printable(given, shown):
    assert printable(given) == shown
    shown.encode("utf-8")


def test_comparable():
    assert comparable("cafe\u0301 ") == comparable(" caf\u00e9") == "caf\u00e9"
    assert comparable("Cafe") != comparable("cafe")
