"""Logs of requests: every line counted, in whatever state it is."""

from __future__ import annotations

import json

import pytest

from transferkit.deploy.interference import Score
from transferkit.deploy.summary import Tally, add_log, is_log
from transferkit.errors import InputError
from transferkit.testing import tiny_model
from transferkit.testing.detector import tiny_detector


@pytest.fixture(scope="module")
def detector():
    return tiny_detector(tiny_model(), Score("refitted", "sum"))


def counted(detector, path, *lines):
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    tally = Tally()
    add_log(tally, path, detector)
    return tally


def test_counts(detector, tmp_path):
    found = counted(
        detector,
        tmp_path / "log.jsonl",
        {"score": 0.5, "flag": True, "source_class": "espresso", "p_value": 0.05},
        {"score": 0.1, "flag": False, "source_class": "espresso"},
        {"score": 0.6, "flag": True, "source_class": 3},
        "",
        {"score": 0.19, "source_class": "daisy"},  # at the threshold: no flag
        {"score": 0.2},
        {"flag": True, "source_class": None},
        {"score": float("nan")},
    )
    assert (found.images, found.flagged) == (7, 5)
    assert found.named == {1: 2, 3: 2} and found.flagged_named == {1: 1, 3: 1}
    assert (found.skipped, found.contrary, found.unknown) == (0, 0, 0)


def test_what_is_odd_is_counted_apart(detector, tmp_path):
    found = counted(
        detector,
        tmp_path / "log.jsonl",
        "no json",
        "[" * 100_000,
        {"status": 503},
        [1, 2],
        {"score": True},
        {"score": 0.9, "flag": False, "source_class": "espresso"},
        {"score": 0.9, "flag": True, "source_class": "shark"},
        {"score": 0.9, "flag": True, "source_class": "unicorn"},
        {"score": 0.9, "flag": True, "source_class": 99},
    )
    assert (found.images, found.flagged) == (4, 3)
    assert (found.skipped, found.contrary, found.unknown) == (5, 1, 3)
    assert found.named == {1: 1}


def test_what_detect_writes_as_json_is_a_log_too(detector, tmp_path):
    entries = [{"path": "a.png", "flag": True, "score": 0.4, "source_class": "daisy"}] * 3
    text = "[\n" + ",\n".join(map(json.dumps, entries)) + "\n]\n"
    found = counted(detector, tmp_path / "out.json", text)
    assert (found.images, found.flagged, found.skipped, found.named) == (3, 3, 0, {3: 3})


def test_files(detector, tmp_path):
    assert is_log(tmp_path / "a.JSONL") and is_log(tmp_path / "served.log") and not is_log(tmp_path / "a.jpg")
    with pytest.raises(InputError, match=r"gone\.jsonl: cannot be read"):
        add_log(Tally(), tmp_path / "gone.jsonl", detector)
    (tmp_path / "bytes.log").write_bytes(b"\xff\xfe\x00\n" + json.dumps({"flag": True}).encode())
    tally = Tally()
    add_log(tally, tmp_path / "bytes.log", detector)
    assert (tally.images, tally.skipped) == (1, 1)
