"""The first screen: the sentence and the tiles, from made-up numbers that are all there, missing, unsure or damaged."""

from __future__ import annotations

import json
import math
from typing import ClassVar

import pytest

from tests.analysis.made_up_runs import RECIPE, RESULT, metrics, write_audit, write_run
from tests.analysis.pages import in_order, parsed
from transferkit.hookspecs import Declared
from transferkit.plugins.distributions import Owner
from transferkit.plugins.registry import Registry, installed
from transferkit.report import Headline, Meaning, Metric, Report
from transferkit.reporting.answers import answer_of, measured_in, measured_over_seeds
from transferkit.reporting.html import write_report
from transferkit.statistics import Estimate

NAMES = {"classes": ["ants", "bees"], "warnings": []}
STAGE = RESULT["stages"]["target"] | NAMES
RETENTION = Report(
    {"relative_retention": Estimate(0.82, 0.8, 0.85), "relative_retention_chance": 0.001, "images_per_class": 3.0}
)
FLAGGED = {"tpr_presence": Estimate(0.46, 0.4, 0.52), "false_alarm_rate": 0.013, "lingering": 593.0}
DETECTOR = Report({**FLAGGED, "auroc_presence": Estimate(0.9, 0.8, 0.95)})


def page_of(folder, reports=None, stage=STAGE, **changes):
    """The page of a made-up run with these reports."""
    analyses = {name: f"analyses/{name}/report.json" for name in reports or {}}
    result = {"status": "done", "run_dir": "runs/ants/1", "stages": {"target": stage}, "analyses": analyses} | changes
    run = write_run(folder / "run", result, RECIPE, metrics())
    for name, report in (reports or {}).items():
        parameters = {"dataset": "imagenet", "stage": "target"}
        report.write(run / "analyses" / name, name=name, plugin=name, version="1", parameters=parameters)
    return parsed(write_report(run)).all_text


def test_the_sentence_says_it_all(tmp_path):
    text = page_of(tmp_path, {"retention": RETENTION, "interference": DETECTOR})
    assert (
        "The model tells ants and bees apart: it is right on 94.1 % of 153 images that it was not trained on, where "
        "guessing would give 50 %. It still recognises 82.0 % of what its source could name and carries a detector "
        "worth switching on, which flags 46.0 % of foreign pictures at 1.3 % false alarms. Not measured: whether it "
        "answers from memory; whether it looks at the wrong thing; whether its probabilities can be believed."
    ) in text


def test_what_was_not_asked_is_said_with_the_line_that_asks(tmp_path):
    text = page_of(tmp_path, {"retention": RETENTION})
    assert (
        "Not measured: whether it answers from memory; whether it looks at the wrong thing; whether a detector" in text
    )
    assert "{use: interference, dataset: imagenet}" in text and "transferkit audit runs/ ants/ 1 --source-data" in text
    assert "detector worth" not in text


def test_a_model_with_a_detector_is_sent_to_it_and_not_to_making_one(tmp_path):
    before = page_of(tmp_path, {"retention": RETENTION}, STAGE | {"model": "stages/target/model"})
    in_order(before, "A detector warns of it (“Can I tell when?”)", "{use: interference, dataset: imagenet}")
    model = tmp_path / "run" / "stages" / "target" / "model"
    model.mkdir(parents=True)
    (model / "interference.json").write_text("{}")
    text = parsed(write_report(tmp_path / "run")).all_text
    in_order(text, "Its detector warns of it:", "transferkit detect")
    assert "A detector warns of it" not in text and "$detector" not in before + text


def test_a_run_without_analyses_promises_nothing(tmp_path):
    text = page_of(tmp_path)
    assert "Not measured: what it still carries of its source" in text and "It still recognises" not in text


def test_what_could_not_be_measured_is_a_tile_with_the_reason(tmp_path):
    nothing = Report({"tpr_presence": math.nan, "auroc_presence": math.nan}, gaps=["No source class lingers."])
    text = page_of(tmp_path, {"retention": RETENTION, "interference": nothing})
    in_order(text, "Can I tell when? not measured interference", "No source class lingers.")
    assert "whether a detector of its memories is worth switching on" in text


@pytest.mark.parametrize(
    ("auroc", "says", "todo"),
    [
        (Estimate(0.9, 0.8, 0.95), "carries a detector worth switching on", "transferkit detect runs/ ants/ 1"),
        (Estimate(0.6, 0.4, 0.8), "it is not certain whether switching it on is worth it", "Do not rely on it yet"),
        (Estimate(0.9), "it is not certain whether switching it on is worth it", "Do not rely on it yet"),
        (Estimate(0.3, 0.2, 0.4), "a detector that is not worth switching on", "transferkit predict runs/ ants/ 1"),
    ],
)
def test_the_detector_is_recommended_by_what_is_certain(tmp_path, auroc, says, todo):
    report = Report({**FLAGGED, "auroc_presence": auroc})
    text = page_of(tmp_path, {"interference": report})
    assert says in text and todo in text


def test_a_tile_has_the_number_its_interval_chance_meaning_and_what_to_do(tmp_path):
    text = page_of(tmp_path, {"retention": RETENTION})
    in_order(
        text,
        "How good is it? 94.1 % of new images named right 89.2 to 96.9 % · guessing: 50 %",
        "Of 100 new images like these expect about 94 to be named right, or between 89 and 97.",
        "Use it: transferkit predict runs/ ants/ 1/ stages/ target/ model PHOTO.jpg .",
        "how it is measured",
        "What does it still recognise? 82.0 % of what the source knew, still recognised 80.0 to 85.0 % · by chance: 0",
        "{use: interference, dataset: imagenet}",
    )


def test_a_model_at_chance_is_told_to_train_on(tmp_path):
    stage = STAGE | {"best": {"epoch": 1, "top1": 0.52, "loss": 0.7, "split": "val"}}
    text = page_of(tmp_path, stage=stage)
    assert "The model has not learned its task so far as can be told: it is right on 52.0 % of 153 images" in text
    assert "Guessing may do as well" in text and "stages.target.epochs=10" in text


def test_training_numbers_are_not_sold_as_quality(tmp_path):
    stage = {"best": {"epoch": 1, "top1": 1.0, "loss": 0.1, "split": "train"}, "classes": ["a", "b"]}
    text = page_of(tmp_path, stage=stage)
    assert "names 100.0 % of its own training images right; how good it is on new ones nobody knows" in text
    assert "named right 89" not in text


@pytest.mark.parametrize("status", ["failed", "stopped"])
def test_an_unfinished_run_says_so_first(tmp_path, status):
    text = page_of(tmp_path, status=status, error="boom")
    in_order(text, f"The run {'failed' if status == 'failed' else 'was stopped'}", "boom", "The model tells ants")


def test_an_audit_speaks_of_the_model_that_it_was_given(tmp_path):
    text = parsed(write_report(write_audit(tmp_path / "a", {"retention": RETENTION}))).all_text
    assert "The model still recognises 82.0 % of what its source could name." in text
    assert "whether it answers from memory" in text


# --- what a third party declares ----------------------------------------------------------------------------------


class Calibration:
    """An analyzer that nobody here knows."""

    metrics: ClassVar = (
        Metric("ece", "calibration error", "share", "worse", interval=True),
        Metric("bins", "bins", "count"),
    )
    headlines: ClassVar = (
        Headline(
            "Is it as sure as it is right?",
            "ece",
            more=Meaning("It is off by $value in $bins bins.", "`fix $run`", "is off"),
            less=Meaning("It is as sure as it is right."),
            title="off",
            bar=0.05,
            how="By bins.",
        ),
    )
    words: ClassVar = {"bins": "groups of answers that are about as sure"}

    def analyze(self, session):
        return None


@pytest.fixture
def third_party(monkeypatch):
    registry = Registry()
    registry.add("analyzer", "calibration", Calibration, Owner("test", "test-plugins", "1.0"))
    for place in ("transferkit.plugins.files", "transferkit.reporting.front", "transferkit.reporting.resolved"):
        monkeypatch.setattr(f"{place}.known", lambda: registry)


def test_a_third_party_is_treated_as_our_own(tmp_path, third_party):
    text = page_of(tmp_path, {"calibration": Report({"ece": Estimate(0.2, 0.1, 0.3), "bins": 15.0})})
    in_order(
        text,
        "guessing would give 50 %. It is off.",
        "Is it as sure as it is right? 20.0 % off 10.0 to 30.0 %",
        "It is off by 20.0 % in 15 bins.",
        "fix runs/ ants/ 1",
        "By bins.",
        "Words on this page",
        "bins groups of answers that are about as sure",
    )


def read(value, low=math.nan, high=math.nan):
    declared = Declared.of(Calibration)
    numbers = {"ece": value, "ece_low": low, "ece_high": high, "bins": 15.0}
    return answer_of(declared, measured_in(numbers, declared), {"run": "r"})


def test_the_interval_decides_what_a_number_means():
    assert read(0.2, 0.1, 0.3).meaning == "It is off by 20.0 % in 15 bins."
    assert read(0.02, 0.01, 0.04).meaning == "It is as sure as it is right."
    assert read(0.06, 0.04, 0.08).meaning == "It is off by 20.0 % in 15 bins.".replace(
        "20.0", "6.0"
    )  # nothing for unsure
    assert read(math.nan) is None


def test_over_seeds_the_mean_speaks():
    declared = Declared.of(Calibration)
    one = {"mean": 0.02, "low": 0.01, "high": 0.03}
    answer = answer_of(declared, measured_over_seeds({"ece": one, "bins": {"mean": 15.0}}, declared), {})
    assert (answer.value, answer.range, answer.meaning) == ("2.0 %", "1.0 to 3.0 %", "It is as sure as it is right.")


def test_a_tile_of_a_share_has_no_end_beyond_0_and_100_per_cent():
    """Neither of an old run's numbers, which were written before anybody looked."""
    assert read(0.2, -0.3, 1.1).range == "0.0 to 100.0 %"
    seeds = {"ece": {"mean": 0.98, "low": 0.6, "high": 1.36}, "bins": {"mean": 15.0}}
    declared = Declared.of(Calibration)
    answer = answer_of(declared, measured_over_seeds(seeds, declared), {})
    assert answer is not None and answer.range == "60.0 to 100.0 %"


@pytest.mark.parametrize("name", sorted(installed().names("analyzer")))
def test_every_analyzer_here_declares_what_exists(name):
    declared = installed().get("analyzer", name).declared
    assert declared.headlines and len({one.question for one in declared.headlines}) <= 2
    known = set(declared.metric_keys) | {"value", "against", "run", "model", "dataset", "analysis", "detector"}
    for one in declared.headlines:
        assert set(one.keys) <= set(declared.metric_keys), one.question
        for meaning in filter(None, (one.more, one.less, one.unsure)):
            words = {
                word for text in (meaning.text, meaning.todo, meaning.brief, one.shown) for word in placeholders(text)
            }
            assert words <= known, (one.question, words - known)
            assert not {"equation", "paper", "figure"} & set(meaning.text.lower().replace(".", "").split())


def placeholders(text):
    return [
        word.split("`")[0].strip(".,;:()}").split("/")[0] for word in text.split("$")[1:] for word in word.split()[:1]
    ]


def test_damaged_numbers_cost_a_tile_and_no_page(tmp_path):
    run = write_run(tmp_path / "run", {"status": "done", "stages": {"target": STAGE}}, RECIPE)
    folder = run / "analyses" / "retention"
    RETENTION.write(folder, name="retention", plugin="retention", version="1", parameters={})
    content = json.loads((folder / "report.json").read_text())
    content["metrics"]["relative_retention"] = "most"
    (folder / "report.json").write_text(json.dumps(content))
    text = parsed(write_report(run)).all_text
    assert "What does it still recognise? not measured retention" in text and "The model tells ants" in text
