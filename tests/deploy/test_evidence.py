"""E-values against sums over every beginning, their mean by counting every stream, and alarms of simulated ones."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from scipy import stats

from transferkit.deploy.evidence import ODDS, Evidence, luck_bound, rate_always


def e_value(events, rate):
    """By the definition: every beginning, every alternative."""
    tail = [1 / math.log2(t + 2) for t in range(len(events) + 1)]
    total = tail[-1]
    for odds in ODDS:
        theta = odds * rate / (1 - rate + odds * rate)
        for start in range(len(events)):
            ratio = math.prod(x * theta / rate + (1 - x) * (1 - theta) / (1 - rate) for x in events[start:])
            total += (tail[start] - tail[start + 1]) * ratio / len(ODDS)
    return total


def after(events, rate):
    evidence = Evidence(rate)
    for one in events:
        evidence.update(one)
    return float(evidence.values)


@pytest.mark.parametrize("events", [[], [1], [0], [0, 1, 1, 0, 1], [0.5, 0.25, 1.0, 0.0]])
@pytest.mark.parametrize("rate", [0.01, 0.3])
def test_is_the_sum_over_beginnings_and_alternatives(events, rate):
    assert after(events, rate) == pytest.approx(e_value(events, rate), rel=1e-12)


@pytest.mark.parametrize("rate", [0.02, 0.4])
def test_is_one_on_average_at_the_rate_and_less_below(rate):
    """Over all streams of seven images, each with its own probability."""
    streams = np.array(list(itertools.product([0, 1], repeat=7)))
    values = np.array([after(stream, rate) for stream in streams])

    def mean(p):
        return float((values * (p ** streams.sum(1) * (1 - p) ** (7 - streams.sum(1)))).sum())

    assert mean(rate) == pytest.approx(1, rel=1e-12)
    assert mean(rate / 2) < mean(0.9 * rate) < 1 < mean(1.5 * rate)


def test_a_flag_more_is_never_less_evidence():
    rng = np.random.default_rng(0)
    for _ in range(50):
        events = rng.integers(0, 2, 30)
        more = events.copy()
        more[rng.integers(30)] = 1
        assert after(more, 0.1) >= after(events, 0.1)


def test_many_rates_at_once_are_each_its_own():
    rng = np.random.default_rng(1)
    events, evidence = rng.integers(0, 2, (20, 2, 3)), Evidence(np.linspace(0.1, 0.6, 6).reshape(2, 3))
    for one in events:
        evidence.update(one)
    for place in np.ndindex(2, 3):
        rate = np.linspace(0.1, 0.6, 6).reshape(2, 3)[place]
        assert evidence.values[place] == pytest.approx(after(events[(slice(None), *place)], rate), rel=1e-12)


def test_the_beginning_is_where_the_cumulative_sum_was_last_nothing():
    evidence, events = Evidence(0.1), [0] * 40 + [1, 1, 0, 1]
    begun = [int(evidence.update(event)[2]) for event in events]  # odds twice those of the rate
    theta = 0.2 / 1.1
    sums = np.cumsum([math.log(theta / 0.1 if x else (1 - theta) / 0.9) for x in events])
    assert max(np.flatnonzero(begun)) == 40 == int(sums.argmin()) + 1
    assert evidence.rise[2] == pytest.approx(sums[-1] - sums.min())


def test_overflow_stays_a_number():
    evidence = Evidence(0.001)
    for _ in range(500):
        evidence.update(1)
    assert math.isfinite(float(evidence.values)) and float(evidence.values) > 1e200


def test_goes_on_from_what_was_written():
    rng = np.random.default_rng(2)
    events, whole, half = rng.integers(0, 2, (30, 2)), Evidence([0.1, 0.5]), Evidence([0.1, 0.5])
    for one in events[:15]:
        whole.update(one)
    half.restore(json.loads(json.dumps(whole.to_json())))
    for one in events[15:]:
        whole.update(one)
        half.update(one)
    assert whole.to_json() == half.to_json()
    for damage in ({"units": -1}, {"stakes": [[1.0]]}, {"rise": [[math.nan] * len(ODDS)] * 2}):
        with pytest.raises(ValueError):
            half.restore(whole.to_json() | damage)


@pytest.mark.parametrize("rate", [0, 1, -0.1, math.nan])
def test_a_rate_is_a_probability(rate):
    with pytest.raises(ValueError):
        Evidence(rate)


@pytest.mark.parametrize(("above", "size", "error"), [(0, 20, 0.05), (4, 100, 0.005), (19, 20, 0.1)])
def test_the_luck_of_a_calibration(above, size, error):
    bound = luck_bound(above, size, error)
    assert stats.binom.cdf(above, size, bound) == pytest.approx(error, rel=1e-9)  # Clopper and Pearson
    thresholds = np.sort(np.random.default_rng(3).random((20_000, size)))[:, size - above - 1]
    assert (1 - thresholds > bound).mean() == pytest.approx(error, abs=4 * math.sqrt(error / 20_000))


def test_where_all_scores_are_larger_nothing_is_bounded():
    assert luck_bound(20, 20, 0.01) == 1


def test_false_alarms_of_clean_streams_with_the_luck_of_their_calibrations():
    """2000 streams of 2000 images; benchmarks/alarm.py has 10 000 of 20 000."""
    rng, n, error, streams = np.random.default_rng(4), 200, 0.1, 2000
    rates, bound = rng.beta(11, 190, streams), luck_bound(10, n, error / 2)  # rank 190 of 200
    evidence, exact = Evidence(np.full(streams, bound)), Evidence(np.full(streams, bound))
    ever, ever_exact = np.zeros(streams, bool), np.zeros(streams, bool)
    for _ in range(2000):
        drawn = rng.random(streams)
        evidence.update(drawn < rates)
        exact.update(drawn < bound)
        ever |= evidence.values >= 2 / error
        ever_exact |= exact.values >= 2 / error
    assert ever.mean() <= error
    assert 0.01 < ever_exact.mean() <= error / 2 + 3 * math.sqrt(error / 2 / streams)  # it is used up, not wasted


def test_what_a_change_after_long_quiet_costs_is_a_logarithm():
    """It takes longer by the share of the stake that begins there, over what an image wins on average."""

    def delay(quiet):
        evidence, rng = Evidence(np.full(100, 0.05)), np.random.default_rng(5)
        when = np.full(100, np.inf)
        for image in range(quiet + 400):
            evidence.update(rng.random(100) < (0.03 if image < quiet else 0.2))
            when[(evidence.values >= 200) & np.isinf(when)] = image - quiet
        return np.median(when)

    begins = 1 / math.log2(3001) - 1 / math.log2(3002)
    gain = 0.2 * math.log(0.2 / 0.05) + 0.8 * math.log(0.8 / 0.95)
    assert delay(3000) - delay(0) < -math.log(begins) / gain


def test_an_interval_for_all_times_is_where_the_mixture_is_below_its_limit():
    found = rate_always(7, 60, 0.05)
    rates = np.linspace(1e-4, 1 - 1e-4, 9999)
    mixture = np.trapezoid(
        stats.beta.pdf(rates, 0.5, 0.5)[:, None] * rates[:, None] ** 7 * (1 - rates[:, None]) ** 53, rates, axis=0
    )[0]
    inside = rates[mixture / (rates**7 * (1 - rates) ** 53) < 20]
    assert (found.low, found.high) == pytest.approx((inside.min(), inside.max()), abs=2e-4)
    assert found.value == 7 / 60 and found.n == 60


def test_ends_of_that_interval():
    assert rate_always(0, 10).low == 0 and rate_always(10, 10).high == 1 and not rate_always(0, 0).known
    assert rate_always(0, 10_000).high < 0.002


def test_the_interval_holds_at_all_times():
    """60 streams looked at 30 times; an interval for one time would leave the rate out in nearly all of them."""
    counts = (np.random.default_rng(6).random((60, 600)) < 0.1).cumsum(axis=1)
    looks = np.unique(np.geomspace(10, 599, 30).astype(int))
    found = [[rate_always(int(row[t]), t + 1, 0.3) for t in looks] for row in counts]
    assert np.mean([any(not one.low <= 0.1 <= one.high for one in row) for row in found]) <= 0.3
