"""What is doubted follows from the calibration; alarms, blocks, and the state that another goes on from."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from scipy import stats

from transferkit.deploy.evidence import Evidence
from transferkit.deploy.interference import Calibration, Guarantee, LingeringClass, Score
from transferkit.deploy.log_lines import Line, LineReader
from transferkit.deploy.monitor import Blocks, Hypothesis, Monitor, hypotheses
from transferkit.deploy.watching import Watch, Watched, sentences
from transferkit.errors import InputError
from transferkit.testing import tiny_model
from transferkit.testing.detector import tiny_detector

START = datetime(2026, 11, 20, tzinfo=UTC)


def detector(n=500, rank=476, alpha=0.05, named=(1,) * 20 + (3,) * 480, confidence=None):
    scores = [(i + 1) / (n + 1) for i in range(n)]
    base = tiny_detector(tiny_model(), Score("refitted", "sum"), detect_p=scores[rank - 1])
    guarantee = Guarantee(alpha, confidence, n, "text")
    return replace(base, guarantee=guarantee, calibration=Calibration.of(scores, named))


def stream(flags, source_class=1, seconds=1.0):
    return [Line(bool(flag), source_class, time=START + timedelta(seconds=seconds * i)) for i, flag in enumerate(flags)]


def fed(monitor, lines):
    return [alarm for line in lines for alarm in monitor.add(line)]


def test_what_is_doubted_shares_the_chance_out():
    rate, espresso, daisy = hypotheses(detector(), 0.04)
    assert rate.name is None and rate.limit == pytest.approx(100)
    assert rate.rate == pytest.approx(stats.beta.ppf(0.99, 25, 476))
    assert (espresso.name, daisy.name) == ("espresso", "daisy") and espresso.limit == pytest.approx(200)
    assert espresso.rate == pytest.approx(stats.beta.ppf(0.995, 21, 480))
    spent = sum(2 / one.limit for one in (rate, espresso, daisy))  # to the stream, and as much to the luck
    assert spent == pytest.approx(0.04)


def test_without_counted_names_all_goes_to_the_rate():
    (rate,) = hypotheses(detector(named=None), 0.04)
    assert rate.limit == pytest.approx(50) and rate.rate == pytest.approx(stats.beta.ppf(0.98, 25, 476))


def test_a_promise_is_not_doubted_below_itself():
    rate, *_ = hypotheses(detector(20_000, 19_800), 0.04)  # 1 % of clean images are above, and 5 % were promised
    assert rate.rate == 0.05


def test_a_given_rate_has_no_luck():
    (alone,) = hypotheses(None, 0.04, 0.1)
    assert (alone.rate, alone.limit) == (0.1, pytest.approx(25))


def test_classes_of_one_name_are_one():
    twice = detector(named=(1,) * 20 + (3,) * 30 + (4,) * 450)
    twice = replace(
        twice, lingering=[LingeringClass(1, "crane"), LingeringClass(3, "crane"), LingeringClass(4, "fence")]
    )
    _, crane, fence = hypotheses(twice, 0.04)
    assert (crane.name, crane.index) == ("crane", 1) and fence.name == "fence"
    assert crane.rate == pytest.approx(stats.beta.ppf(0.995, 51, 450))


@pytest.mark.parametrize(
    ("interference", "rate", "error", "words"),
    [
        (None, None, 0.01, "without a model"),
        (None, 1.5, 0.01, "rate of false alarms lies between"),
        (None, 0.1, 0.0, "chance of a false alarm lies"),
    ],
)
def test_what_cannot_be_watched(interference, rate, error, words):
    with pytest.raises(InputError, match=words):
        hypotheses(interference, error, rate)


def test_a_threshold_without_clean_images_cannot():
    bare = replace(detector(alpha=None), calibration=Calibration.of([]), guarantee=Guarantee(None, None, 0, ""))
    with pytest.raises(InputError, match="does not say how many clean images"):
        hypotheses(bare)
    below = replace(detector(alpha=None), detect_p=0.0)
    with pytest.raises(InputError, match="does not say"):
        hypotheses(below)


def test_an_alarm_says_when_and_since_when_once():
    monitor = Monitor([Hypothesis(None, -1, 0.05, 100)])
    alarms = fed(monitor, stream([0] * 300 + [1] * 40))
    (alarm,) = alarms
    assert monitor.alarms == alarms and 301 < alarm.record < 320 and alarm.since == 301
    assert alarm.since_time == (START + timedelta(seconds=300)).isoformat()
    text = sentences(monitor, 0.01)[0]
    assert text.startswith("ALARM: since about record 301 (2026-11-20T00:05:00+00:00)") and "at most 1 %" in text


def test_a_class_that_rises_is_named_though_the_rate_stays():
    monitor, rng = Monitor(hypotheses(detector(), 0.04)), np.random.default_rng(0)
    alarms = [a for i in range(900) for a in monitor.add(Line(False, 1 if rng.random() < (0.04, 0.4)[i > 500] else 3))]
    assert [one.name for one in alarms] == ["espresso"] and 480 < alarms[0].since < 540
    assert "espresso is the strongest source class of more than" in sentences(monitor, 0.04)[0]


def test_a_block_is_one_decision_on_its_share():
    monitor, evidence = Monitor([Hypothesis(None, -1, 0.1, 1e9)], Blocks(size=4)), Evidence(0.1)
    flags = [1, 0, 0, 1, 0, 0, 0, 0, 1, 1, 1, 1, 1]
    fed(monitor, stream(flags))
    for share in (0.5, 0, 1):
        evidence.update(share)
    assert monitor.evidence.units == 3 and monitor.e_values()[None] == pytest.approx(float(evidence.values))
    monitor.close_block()
    assert monitor.evidence.units == 4 and monitor.flagged == 7 and monitor.rate.value == pytest.approx(2.5 / 4)


def test_a_block_ends_where_time_passes():
    monitor = Monitor([Hypothesis(None, -1, 0.1, 1e9)], Blocks(gap=5))
    for seconds in (0, 1, 2, 20, 21, 60):
        monitor.add(Line(True, time=START + timedelta(seconds=seconds)))
    assert monitor.evidence.units == 2 and monitor.records == 6
    with pytest.raises(InputError, match="need a time in every line"):
        monitor.add(Line(True))


def test_frames_that_are_all_alike_need_blocks():
    """A video of 30 equal frames a scene, as many flagged scenes as promised."""
    scenes = np.random.default_rng(1).random(200) < 0.05
    frames = stream(np.repeat(scenes, 30))
    alone, blocks = (Monitor([Hypothesis(None, -1, 0.07, 400)], how) for how in (Blocks(), Blocks(size=30)))
    assert fed(alone, frames) and not fed(blocks, frames)


@pytest.mark.parametrize("given", [{"size": 0}, {"gap": 0.0}, {"size": 3, "gap": 1.0}])
def test_blocks_that_are_none(given):
    with pytest.raises(InputError):
        Blocks(**given)


@pytest.mark.parametrize("blocks", [Blocks(), Blocks(size=7), Blocks(gap=0.5)])
def test_a_state_goes_on_as_if_nothing_was(blocks):
    lines = stream(np.random.default_rng(2).random(1500) < 0.2)
    whole, half = (Monitor(hypotheses(detector()), blocks) for _ in range(2))
    fed(whole, lines[:700])
    content = json.loads(json.dumps(whole.to_json()))
    assert half.belongs(content)
    half.restore(content)
    assert fed(half, lines[700:]) == fed(whole, lines[700:])
    assert half.to_json() == whole.to_json() and whole.alarms and len(whole.history) <= 601
    assert not Monitor(hypotheses(detector(), 0.02), blocks).belongs(content)


@pytest.mark.parametrize("damage", [{"evidence": {}}, {"begun": [[1]]}, {"block": {}}, {"alarms": [{"a": 1}]}])
def test_a_damaged_state_is_refused(damage):
    monitor = Monitor(hypotheses(detector()))
    with pytest.raises(ValueError):
        monitor.restore(monitor.to_json() | damage)


def test_a_watch_counts_what_is_not_as_it_should_be(tmp_path):
    found, log = detector(), tmp_path / "log.jsonl"
    lines = [
        {"score": 0.99, "flag": False, "source_class": "espresso"},
        {"score": 0.5, "flag": False, "source_class": "shark"},
        {"score": 0.5, "flag": False, "model": "other"},
        {"nothing": 1},
    ]
    log.write_text("\n".join(map(json.dumps, lines)) + "\nno json\n")
    watch = Watch(log, Monitor(hypotheses(found)), Watched(LineReader(found), "mine"), tmp_path / "state.json")
    assert list(watch.take()) == []
    expected = {"contrary": 1, "other_model": 1, "unknown": 1, "skipped": 2, "lost": 0}
    assert watch.doubts == expected and watch.monitor.records == 2
    again = Watch(log, Monitor(hypotheses(found)), Watched(LineReader(found), "mine"), tmp_path / "state.json")
    assert list(again.take()) == [] and again.doubts == expected and again.monitor.records == 2
    with pytest.raises(InputError, match="of another model"):
        Watch(log, Monitor(hypotheses(found)), Watched(LineReader(found), "other"), tmp_path / "state.json")


@pytest.mark.parametrize("text", ["[]", "{}", '{"monitor": {}}', "{", '{"schema_version": 99}'])
def test_what_is_no_state_is_refused(tmp_path, text):
    (tmp_path / "state.json").write_text(text)
    monitor = Monitor(hypotheses(None, 0.01, 0.1))
    with pytest.raises(InputError, match=r"state\.json"):
        Watch(tmp_path / "log.jsonl", monitor, Watched(LineReader(None)), tmp_path / "state.json")


def test_sentences_where_nothing_is_wrong_or_there():
    monitor = Monitor(hypotheses(detector()))
    assert sentences(monitor, 0.01) == ["There is nothing to judge yet: the log has no answer."]
    fed(monitor, stream([0, 1] + [0] * 40, source_class=3))
    first, second = sentences(monitor, 0.01)
    assert first.startswith("No alarm in 42 answers") and second.startswith("1 of 42 answers were flagged: 2.4 %")
