"""The analyzer of analyzers.md: its number is the one that is worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from transferkit.testing import MadeUpImages, MadeUpModel, check_plugin, made_up_session

from .pages import blocks, defined, page

SURER = defined(blocks(page("analyzers"), "python")[0])["Surer"]


def test_it_keeps_the_promises_of_a_plugin():
    check_plugin(SURER)


@pytest.mark.parametrize("labels", [[0, 0, 1, 1], [0, 0, 0, 0]])
def test_the_gap_is_that_of_the_mean_probabilities(tmp_path, labels):
    classes, logits = ["ants", "bees"], [[4.0, 0.0], [2.0, 0.0], [3.0, 0.0], [1.0, 0.0]]
    session = made_up_session(
        tmp_path,
        images={"source": MadeUpImages(classes, labels), "target": MadeUpImages(classes, labels)},
        models={name: MadeUpModel(classes, {"source": logits, "target": logits}) for name in ("source", "target")},
    )
    report = SURER().analyze(session)
    if labels[-1] == 0:
        assert not report.metrics and report.gaps
        return
    sure = 1 / (1 + np.exp(-np.array([4.0, 2.0, 3.0, 1.0])))
    assert report.metrics["gap"] == pytest.approx(sure[:2].mean() - sure[2:].mean())
    assert "points apart" in report.verdict and report.tables["sureness"].rows[0][1] == 2
