"""Rates and tests against independent sums, and sentences that say no more than they know."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from transferkit.deploy.interference import Calibration, Guarantee, Score
from transferkit.deploy.summary import Tally, summarise
from transferkit.testing import tiny_model
from transferkit.testing.detector import tiny_detector


def detector(n=19, alpha=0.05, named=None):
    """A threshold at the right place of n evenly spaced clean scores."""
    from dataclasses import replace

    scores = [(i + 1) / (n + 1) for i in range(n)]
    rank = n if alpha is None else math.ceil((n + 1) * (1 - alpha))
    base = tiny_detector(tiny_model(), Score("refitted", "sum"), detect_p=scores[rank - 1])
    return replace(base, guarantee=Guarantee(alpha, None, n, "text"), calibration=Calibration.of(scores, named))


def tally(images, flagged, named=None, flagged_named=None):
    found = Tally(images, flagged)
    found.named.update(named or {})
    found.flagged_named.update(flagged_named or {})
    return found


@pytest.mark.parametrize(("images", "flagged"), [(1, 0), (1, 1), (20, 3), (60, 10)])
def test_the_binomial_test_is_exact(images, flagged):
    alpha = Fraction(1, 20)
    terms = (math.comb(images, k) * alpha**k * (1 - alpha) ** (images - k) for k in range(flagged, images + 1))
    assert summarise(tally(images, flagged), detector()).p_value == pytest.approx(float(sum(terms)), abs=1e-12)


def test_the_interval_is_wilsons():
    found = summarise(tally(50, 10), detector())
    roots = np.roots([1 + 3.841458820694124 / 50, -(0.4 + 3.841458820694124 / 50), 0.04])
    assert (found.rate.low, found.rate.high) == pytest.approx(sorted(roots), abs=1e-12) and found.rate.value == 0.2


def test_the_draw_of_the_calibration_is_taken_into_account():
    """Clean scores are uniform, so the chance of at least m flags can be simulated."""
    rng = np.random.default_rng(0)
    calibration, later = np.sort(rng.random((20_000, 39)), axis=1), rng.random((20_000, 30))
    flags = (later > calibration[:, [37]]).sum(axis=1)  # rank 38 of 39 for alpha 0.05
    for flagged in (0, 1, 3, 6):
        found = summarise(tally(30, flagged), detector(39)).p_value_calibrated
        assert found == pytest.approx((flags >= flagged).mean(), abs=0.012)


def test_sentences_on_the_rate():
    quiet = summarise(tally(100, 4), detector(1999)).sentences
    assert quiet[0].startswith("4 of 100 images were flagged: 4.0 % (95 % interval")
    assert "no more than chance makes of the promised 5 %" in quiet[1] and len(quiet) == 2
    loud = summarise(tally(100, 30), detector(1999))
    assert "more than the promised 5 % of false alarms" in loud.sentences[1]
    assert "not like the clean ones of the calibration" in loud.sentences[1]
    unsure = summarise(tally(100, 10), detector(39))
    assert unsure.p_value < 0.05 < unsure.p_value_calibrated and "39 clean images only" in unsure.sentences[1]
    assert summarise(tally(1, 1), detector()).sentences[0].startswith("1 of 1 image was flagged")


def test_without_a_promise():
    found = summarise(tally(10, 4), detector(alpha=None))
    assert math.isnan(found.p_value) and found.alpha is None
    assert "no rate of false alarms was promised; of clean images 0.0 % have such scores" in found.sentences[1]


def test_source_classes_that_rose():
    clean = [1] * 10 + [3] * 190
    found = summarise(tally(100, 30, {1: 40, 3: 60}, {1: 28, 3: 2}), detector(200, named=clean))
    assert [one.name for one in found.classes] == ["espresso", "daisy"] and found.risen == ["espresso"]
    first = found.classes[0]
    assert (first.flagged, first.images, first.calibration) == (28, 40, 10)
    draws = [math.comb(50, k) * math.comb(250, 100 - k) for k in range(40, 51)]
    assert first.p_value == pytest.approx(2 * sum(draws) / math.comb(300, 100), rel=1e-9)
    said = " ".join(found.sentences)
    assert "espresso rose: the strongest source class of 40 of 100 images, and of 10 of 200 clean ones" in said
    assert "28 of them flagged" in said and "daisy" not in said


def test_names_without_a_record_or_without_change():
    unknown = summarise(tally(100, 30, {1: 40}, {1: 30}), detector())
    assert unknown.risen == [] and math.isnan(unknown.classes[0].p_value) and unknown.classes[0].calibration is None
    assert "Most often named: espresso. Whether it rose is not known" in unknown.sentences[2]
    same = summarise(tally(20, 1, {1: 10, 3: 10}, {1: 1, 3: 0}), detector(20, named=[1, 3] * 10))
    assert same.sentences[2] == "No source class rose against the clean images of the calibration."
    assert [one.name for one in same.classes] == ["espresso"]


def test_doubts_are_said():
    found = tally(5, 1)
    found.contrary, found.unknown, found.skipped = 1, 2, 3
    said = summarise(found, detector()).sentences
    assert [one.split()[0] for one in said[-3:]] == ["1", "2", "3"]
