"""A sample of benchmarks/agreement.py: files of all kinds get one answer, whoever is asked."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("onnxscript")

AGREEMENT = Path(__file__).parents[2] / "benchmarks" / "agreement.py"


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(AGREEMENT))


def test_one_answer_for_every_kind_of_file(script, exported, tmp_path):
    paths = script["corpus"](tmp_path / "files", 2 * len(script["KINDS"]))
    assert {path.suffix for path in paths} >= {".jpeg", ".png", ".webp", ".tiff", ".gif", ".bmp"}
    found = script["compare"](exported, paths, script["WAYS"])
    assert set(found) == set(script["WAYS"]) and all(one["images"] == len(paths) for one in found.values())
    assert script["agree"](found), found


def test_a_disagreement_is_counted(script):
    class Model:
        class interference:
            detect_p = 0.5

    found = script["disagreements"](Model, [(0, 0.4, 1), (1, 0.9, 1)], [(0, 0.6, 1), (0, 0.9, 3)])
    assert found == {"images": 2, "classes": 1, "flags": 1, "source classes": 1, "score": pytest.approx(0.2)}
    assert not script["agree"]({"it": found})
    assert script["agree"]({"it": {**found, "classes": 0, "flags": 0, "score": 1e-4}})
