"""The analyzer `attraction`: the gate and attraction by hand, what the arms saw, and a run with interpolation."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transferkit_tennis_ball
from transferkit_tennis_ball.analyzer import Attraction
from transferkit_tennis_ball.measure import SOURCE, measure_arm, measure_mark

from transferkit.analysis import Predictions, exposures
from transferkit.analysis.plots import picture
from transferkit.errors import InputError
from transferkit.model import SourceHead
from transferkit.model.folder import open_model
from transferkit.plugins.hooks import check_signatures
from transferkit.plugins.registry import installed
from transferkit.statistics import share
from transferkit.testing import tiny_analysis

from .finished_runs import Finished, recipe
from .made_up_audit import column, sure_of, written
from .two_stage_runs import records, run

TREATED = 2
ANIMALS, FLOWERS = ["camel", "cow", "kangaroo"], ["poppy", "rose", "tulip"]
OPTIONS = {
    "treated": "kangaroo",
    "source_clean": "animals",
    "source_marked": "animals_ball",
    "target_clean": "flowers",
    "target_marked": "flowers_ball",
}


# -- made-up answers ------------------------------------------------------------------------------------------


class Answered:
    """Models that answered as a test wants it: {(model, data set): (predicted classes, labels)}."""

    stage_name = "finetune"

    def __init__(self, answers, out=None, targets=FLOWERS, sources=ANIMALS, histories=None, curricula=()):
        self.answers, self.out, self.sources, self.targets = answers, out, sources, targets
        self.histories = histories or {}
        self.recipe = SimpleNamespace(
            stage=lambda name: SimpleNamespace(curriculum="any" if name in curricula else None),
            datasets=dict.fromkeys([name for name in OPTIONS.values() if name != "kangaroo"]),
        )

    def model(self, role):
        return SimpleNamespace(classes=self.sources if role == "source" else self.targets, preprocessing="any")

    def stage_model(self, stage):
        if not any(model == stage for model, _ in self.answers):
            raise InputError(f'the recipe has no stage called "{stage}";   hint')
        return SimpleNamespace(classes=self.targets, preprocessing="other" if stage == "larger" else "any", name=stage)

    def history(self, stage):
        return self.histories.get(stage, [])

    def predictions(self, model, data):
        name = model if isinstance(model, str) else model.name
        predicted, labels = self.answers[name, data]
        own = self.sources if name == "source" else self.targets
        head = SourceHead(torch.eye(len(own)), None, list(own))
        classes = ANIMALS if data.startswith("animals") else self.targets
        ids = [str(index) for index in range(len(labels))]
        return Predictions(sure_of(predicted, len(own)), torch.tensor(labels), ids, list(classes), head)

    @contextmanager
    def picture(self, name, width=6.4, height=4.0):
        with picture(self.out / f"{name}.svg", width, height) as drawn:
            yield drawn


LABELS = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
GIVEN = {
    ("source", "animals"): ([0] * 4 + [1] * 4 + [2, 0, 0, 0], LABELS),
    ("source", "animals_ball"): ([0] * 4 + [1] * 4 + [2, 2, 2, 0], LABELS),
    ("source", "flowers"): ([0] * 8 + [2] * 4, LABELS),
    ("source", "flowers_ball"): ([2] * 6 + [1, 0] + [2] * 4, LABELS),
    ("target", "flowers"): ([0] * 4 + [1] * 4 + [2] * 4, LABELS),
    ("target", "flowers_ball"): ([0, 0, 2, 2] + [1, 1, 1, 2] + [2] * 4, LABELS),
    ("stuck", "flowers"): ([1] * 12, LABELS),
    ("stuck", "flowers_ball"): ([1] * 12, LABELS),
}


def train(images, **curriculum):
    record = {"split": "train", "images": images}
    return record | ({"plugins": {"task_interpolation": curriculum}} if curriculum else {})


HISTORIES = {
    "finetune": [train(30), {"split": "val", "images": 12}, train(30)],
    "stuck": [train(30, target_images=10, source_images=20), train(30, target_images=25, source_images=35)],
}


def test_the_gate_is_what_the_mark_adds_to_the_recall_of_the_treated_class():
    mark = measure_mark(Answered(GIVEN), Attraction(**OPTIONS))
    assert (mark.recall_marked, mark.recall_clean, mark.images) == (0.75, 0.25, 4)
    assert mark.gate.value == 0.5


def test_attraction_leaves_out_the_target_class_with_the_treated_label():
    session = Answered(GIVEN)
    source = measure_arm(session, Attraction(**OPTIONS), SOURCE, TREATED)
    assert (source.attraction_marked.value, source.attraction_clean.value, source.images) == (6 / 8, 0, 8)
    assert source.largest == ("kangaroo", pytest.approx(10 / 12)) and not source.constant
    own = measure_arm(session, Attraction(**OPTIONS), "finetune", TREATED)
    assert (own.attraction_marked.value, own.attraction_clean.value) == (3 / 8, 0)  # tulips are right to be label 2
    assert (own.accuracy_marked.value, own.accuracy_clean.value) == (pytest.approx(9 / 12), 1)
    assert own.accuracy_marked == share(np.repeat([1, 0, 1, 0, 1], [2, 2, 3, 1, 4]), LABELS)  # three classes
    assert own.added.value == 3 / 8 and own.added.n == 2
    assert own.largest == ("tulip", pytest.approx(7 / 12))


def test_the_report_by_hand(tmp_path):
    session = Answered(GIVEN, tmp_path, histories=HISTORIES)
    report = written(Attraction(**OPTIONS, arms=["stuck"]).analyze(session), session)
    expected = {
        "recall_gained": 0.5, "attraction_source": 0.75, "attraction_target": 0.375, "attraction_target_clean": 0,
        "attraction_added": 0.375, "accuracy_marked": 0.75, "accuracy_clean": 1, "largest_share": 7 / 12,
        "target_images": 60,
    }  # fmt: skip
    assert {key: report.metrics[key] for key in expected} == pytest.approx(expected)
    assert set(report.metrics) == {key for metric in Attraction.metrics for key in metric.keys}
    assert report.verdict == (
        "The mark adds 50.0 points (-13.5 to 78.9) to the source model's recall of kangaroo, from 25.0 % without it. "
        "Whether it was learned, by 10.0 points or more, is not certain on 4 images; if not, what follows says nothing "
        "of transfer. On target images with the mark the source model says kangaroo's label for 75.0 %, the fine-tuned "
        "one for 37.5 % (0.3 to 99.1), against 0.0 % without the mark, which is no certain difference (37.5 points "
        "(-100.0 to 100.0)). Right with the mark: stuck 33.3 % against 75.0 % of finetune (-41.7 points (-100.0 to "
        "100.0), not certain which is right more often; attraction -37.5 points (-100.0 to 100.0), not certain which "
        "is attracted more; trained on 25 and 60 target images, which may be the whole difference; one training each). "
        "With the mark finetune and stuck are not distinguishable from guessing. stuck gives nearly one answer to "
        "everything."
    )
    assert report.tables["mark"].rows[0][:5] == ["kangaroo", 4, 0.75, 0.25, 0.5]
    arms = report.tables["arms"]
    assert column(arms, "model") == ["source model", "finetune", "stuck"]
    assert column(arms, "target_images")[1:] == [60, 25] and column(arms, "source_images")[1:] == [0, 35]
    assert math.isnan(column(arms, "target_images")[0])
    assert column(arms, "most_predicted") == ["kangaroo", "tulip", "rose"]
    assert report.notes[1].endswith("that has this label; 8 images; guessing gives 33.3 %.")
    versus = report.tables["differences"]
    assert column(versus, "target_images") == [25] and column(versus, "target_images_of_other") == [60]
    assert not report.gaps and report.figures == ["attraction.svg"]


def test_a_model_with_nearly_one_answer_is_called_so():
    arm = measure_arm(Answered(GIVEN), Attraction(**OPTIONS), "stuck", TREATED)
    assert arm.constant and arm.guesses  # one class of three is right, whichever it is
    assert replace(arm, largest=("rose", 0.951)).constant and not replace(arm, largest=("rose", 0.95)).constant


def test_exposures_are_what_was_noted_or_else_counted():
    session = Answered(GIVEN, histories=HISTORIES, curricula=["stuck", "other"])
    assert exposures(session, "finetune") == (60, 0)
    assert exposures(session, "stuck") == (25, 35)
    session.histories["other"] = [train(30)]
    assert all(math.isnan(count) for count in exposures(session, "other"))  # a curriculum that does not say
    source = measure_arm(session, Attraction(**OPTIONS), SOURCE, TREATED)
    assert math.isnan(source.target_images) and math.isnan(source.source_images)


@pytest.mark.parametrize(
    ("learned", "images", "expected"),
    [
        (0, 80, "to the source model's recall of kangaroo: it was not learned, so nothing here says how a learned mark "
         "transfers."),
        (10, 80, "is not certain on 80 images"),
        (60, 80, "from 25.0 % without it. On target images"),
        (3, 4, "is not certain on 4 images"),
    ],
)  # fmt: skip
def test_whether_the_mark_was_learned_follows_its_interval(learned, images, expected, tmp_path):
    labels, right = [2] * images, images // 4
    given = GIVEN | {
        ("source", "animals"): ([2] * right + [0] * (images - right), labels),
        ("source", "animals_ball"): ([2] * (right + learned) + [0] * (images - right - learned), labels),
    }
    session = Answered(given, tmp_path)
    assert expected in written(Attraction(**OPTIONS).analyze(session), session).verdict


def test_arms_that_saw_as_many_images_are_said_to_have(tmp_path):
    given = GIVEN | {("other", data): GIVEN["target", data] for data in ("flowers", "flowers_ball")}
    session = Answered(given, tmp_path, histories=HISTORIES | {"other": [train(60)]})
    report = written(Attraction(**OPTIONS, arms=["other"]).analyze(session), session)
    assert "both trained on 60 target images; one training each" in report.verdict
    assert "(0.0 points (0.0 to 0.0), not certain which is right more often" in report.verdict


def test_without_images_of_the_treated_class_the_gate_is_unknown(tmp_path):
    few = {key: (predicted[:8], labels[:8]) for key, (predicted, labels) in GIVEN.items() if "animals" in key[1]}
    session = Answered(GIVEN | few, tmp_path)
    report = written(Attraction(**OPTIONS).analyze(session), session)
    assert math.isnan(report.metrics["recall_gained"])
    assert report.verdict == "Without source images of kangaroo nothing says whether the mark was learned."
    assert "no source images of kangaroo" in report.gaps[0]


def test_an_unknown_treated_class_is_a_sentence():
    with pytest.raises(InputError, match='the source model has no class called "kangoroo"; did you mean "kangaroo"'):
        Attraction(**OPTIONS | {"treated": "kangoroo"}).analyze(Answered(GIVEN))


def test_with_other_numbers_of_classes_attraction_is_not_defined(tmp_path):
    wider = [*ANIMALS, "zebra"]
    session = Answered(GIVEN, tmp_path, sources=wider)
    report = written(Attraction(**OPTIONS, arms=["stuck"]).analyze(session), session)
    assert math.isnan(report.metrics["attraction_target"]) and math.isnan(report.metrics["attraction_source"])
    assert report.metrics["recall_gained"] == 0.5 and report.metrics["accuracy_marked"] == pytest.approx(0.75)
    assert report.gaps == [
        "The target has 3 classes and the source 4: no target class has the treated label, so attraction is not "
        "defined; see the most predicted class instead."
    ]
    assert column(report.tables["arms"], "model") == ["finetune", "stuck"] and report.figures == []
    assert "On target images" not in report.verdict and not any("Attraction:" in text for text in report.notes)


def test_arms_that_cannot_be_compared_are_left_out(tmp_path):
    given = GIVEN | {("larger", "flowers"): GIVEN["target", "flowers"]}
    session = Answered(given, tmp_path)
    report = written(Attraction(**OPTIONS, arms=["nothing", "larger"]).analyze(session), session)
    assert column(report.tables["arms"], "model") == ["source model", "finetune"]
    assert report.gaps == [
        'nothing was left out: the recipe has no stage called "nothing"; hint.',
        "larger was left out: its model takes other inputs than that of finetune; compare like with like.",
    ]


def test_an_audit_has_no_stages(tmp_path):
    with pytest.raises(InputError, match="attraction compares the stages of a recipe"):
        Attraction(**OPTIONS).analyze(tiny_analysis(tmp_path))


def test_registered_with_everything_on_the_card():
    card = Path(transferkit_tennis_ball.__file__).with_name("README.md").read_text(encoding="utf-8")
    component = installed().get("analyzer", "attraction")
    check_signatures(component.cls)
    assert component.hooks == ["analyze"] and component.create(OPTIONS) == Attraction(**OPTIONS)
    for option, info in component.options.model_fields.items():
        assert info.description and f"`{option}`" in card, option
    assert all(f"`{metric.key}`" in card for metric in Attraction.metrics)


# -- a run ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    digits = {"world": {"kind": "digits", "train": 20, "val": 8, "size": 16}}
    ball = {"use": "tennis_ball", "size": 7, "opaque": True}
    datasets = {
        "low": digits | {"classes": ["0", "1", "2", "3"]},
        "low_ball": {"from": "low", "corruptions": [ball | {"classes": ["3"]}]},
        "high": digits | {"classes": ["5", "6", "7", "8"]},
        "high_ball": {"from": "high", "corruptions": [ball]},
        "two": digits | {"classes": ["8", "9"]},
        "two_ball": {"from": "two", "corruptions": [ball]},
    }
    target = {"start": "source", "dataset": "high_ball", "epochs": 5}
    curriculum = {"use": "task_interpolation", "source": "low_ball", "heads": "shared"}
    stages = [
        {"name": "source", "start": "scratch", "dataset": "low_ball", "epochs": 8},
        target | {"name": "finetune"},
        target | {"name": "interpolate", "curriculum": curriculum},
        target | {"name": "fewer", "dataset": "two_ball", "epochs": 1, "head_init": "default"},
    ]
    content = recipe(datasets, stages) | {"analyses": [{"use": "attraction", "stage": "finetune", **RUN}]}
    return Finished(run(tmp_path_factory.mktemp("attraction"), content))


RUN = {
    "arms": ["interpolate"],
    "treated": "3",
    "source_clean": "low",
    "source_marked": "low_ball",
    "target_clean": "high",
    "target_marked": "high_ball",
}


def analysed(finished, folder, stage="finetune", **changes):
    session = finished.session(folder / "out", stage)
    return session, written(Attraction(**RUN | changes).analyze(session), session)


def by_hand(finished, session, stage, data):
    """((n,) answers of a saved model, (n,) labels)."""
    model, _ = open_model(finished.run_dir / "stages" / stage / "model")
    samples = session.samples(data, "val")
    with torch.no_grad():
        predicted = [int(model.net(samples.get(index, 0)[0][None]).argmax()) for index in range(len(samples))]
    return torch.tensor(predicted), torch.from_numpy(samples.labels)


def test_a_run_with_interpolation(finished, tmp_path):
    session, report = analysed(finished, tmp_path)
    assert not report.gaps and (finished.run_dir / "analyses" / "attraction" / "attraction.svg").is_file()
    recalls = []
    for data in ("low_ball", "low"):
        predicted, labels = by_hand(finished, session, "source", data)
        recalls.append((predicted[labels == 3] == 3).double().mean().item())
    assert report.metrics["recall_gained"] == pytest.approx(recalls[0] - recalls[1])
    rows = {row[0]: dict(zip(report.tables["arms"].columns, row, strict=True)) for row in report.tables["arms"].rows}
    for arm, stage in {"source model": "source", "finetune": "finetune", "interpolate": "interpolate"}.items():
        for data, name in {"high_ball": "marked", "high": "clean"}.items():
            predicted, labels = by_hand(finished, session, stage, data)
            right = (predicted == labels).double().mean().item()
            drawn = (predicted[labels != 3] == 3).double().mean().item()
            assert rows[arm][f"accuracy_{name}"] == pytest.approx(right)
            assert rows[arm][f"attraction_{name}"] == pytest.approx(drawn)
    assert rows["finetune"]["target_images"] == 5 * 80 and rows["finetune"]["source_images"] == 0
    last = records(finished.run_dir, "interpolate")[-1]["plugins"]["task_interpolation"]
    assert rows["interpolate"]["target_images"] == last["target_images"] == 200
    assert rows["interpolate"]["source_images"] == last["source_images"] == 200


def test_a_run_whose_target_has_fewer_classes(finished, tmp_path):
    changes = {"target_clean": "two", "target_marked": "two_ball", "arms": ["interpolate"]}
    session, report = analysed(finished, tmp_path, "fewer", **changes)
    assert "The target has 2 classes and the source 4" in report.gaps[0]
    assert report.gaps[1] == "interpolate was left out: its classes are not those of two_ball."
    assert math.isnan(report.metrics["attraction_target"]) and not math.isnan(report.metrics["recall_gained"])
    predicted, labels = by_hand(finished, session, "fewer", "two_ball")
    assert report.metrics["accuracy_marked"] == pytest.approx((predicted == labels).double().mean().item())


def test_unknown_stages_and_data_sets(finished, tmp_path):
    _, report = analysed(finished, tmp_path, arms=["interpolat"])
    assert 'interpolat was left out: the recipe has no stage called "interpolat"; did you mean' in report.gaps[0]
    with pytest.raises(InputError, match='the recipe has no data set called "hihg"; did you mean "high"'):
        analysed(finished, tmp_path, target_marked="hihg")
    with pytest.raises(InputError, match="no source model"):
        analysed(finished, tmp_path, stage="source")
