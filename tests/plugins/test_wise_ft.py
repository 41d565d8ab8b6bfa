"""WiSE-FT: the line between two models by hand, the choice of alpha, and a stage that goes all the way back."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from transferkit_wise_ft import between
from transferkit_wise_ft.edit import WiseFT

from tests.plugins.two_stage_runs import recipe, run, weights
from transferkit.plugins.registry import installed
from transferkit.testing import check_plugin


def test_by_hand():
    start = {"w": torch.tensor([0.0, 4.0]), "n": torch.tensor(3)}
    end = {"w": torch.tensor([2.0, 0.0]), "n": torch.tensor(9)}
    found = between(start, end, 0.25)
    assert found["w"].tolist() == [0.5, 3.0] and found["n"].item() == 9
    assert torch.equal(between(start, end, 1.0)["w"], end["w"]) and torch.equal(between(start, end, 0)["w"], start["w"])
    assert between({"w": end["w"].half()}, {"w": start["w"].half()}, 0.5)["w"].dtype == torch.float16
    with pytest.raises(ValueError, match="other tensors"):
        between({"w": torch.zeros(3)}, end, 0.5)


class Scored:
    """A session that knows how good each alpha is: the value of `w` is its alpha."""

    def __init__(self, scores):
        self.scores, self.notes = scores, []

    def score(self, values):
        return self.scores[round(float(values["w"]), 3)]

    def note(self, text, **numbers):
        self.notes.append((text, numbers))

    def progress(self, total, text):
        from contextlib import nullcontext
        from types import SimpleNamespace

        return nullcontext(SimpleNamespace(advance=lambda: None))


class Model:
    """One number in the backbone and one in the head."""

    def __init__(self, value):
        from types import SimpleNamespace

        self.net = SimpleNamespace(state_dict=lambda: {"w": torch.tensor(value), "head": torch.tensor(7.0)})

    def named_head_parameters(self):
        return [("head", None)]


def chosen(scores, **options):
    session = Scored(scores)
    values = WiseFT(**options).edit(Model(1.0), Model(0.0), session)
    assert set(values) == {"w"}  # the head stays
    return round(float(values["w"]), 3), session.notes


def test_the_best_alpha_is_taken_and_of_equal_ones_the_smaller():
    scores = {0.0: {"top1": 0.5, "loss": 1}, 0.5: {"top1": 0.9, "loss": 1}, 1.0: {"top1": 0.9, "loss": 0.1}}
    alpha, notes = chosen(scores, alphas=[1.0, 0.0, 0.5])
    assert alpha == 0.5 and notes[0][1] == {"alpha": 0.5}
    by_loss = {0.0: {"loss": 3.0, "r2": 0}, 1.0: {"loss": 2.0, "r2": 0}}
    assert chosen(by_loss, alphas=[0.0, 1.0])[0] == 1.0
    assert chosen({}, alphas=[0.3]) == (0.3, [])  # nothing to choose


def test_the_promises_of_a_plugin():
    check_plugin(WiseFT)
    check_plugin(WiseFT, alphas=[0.5])


def test_options():
    component = installed().get("edit", "wise_ft")
    for wrong in ([], [1.5], ["x"]):
        with pytest.raises(ValidationError):
            component.create({"alphas": wrong})


@pytest.mark.parametrize("where", ["in the stage", "in a stage of its own"])
def test_all_the_way_back_is_the_source(tmp_path, where):
    edits = [{"use": "wise_ft", "alphas": [0.0]}]
    content = recipe(**({"edits": edits} if where == "in the stage" else {}))
    if where != "in the stage":
        content["stages"].append({"name": "edited", "start": "target", "dataset": "permuted", "edits": edits})
    done = run(tmp_path, content)
    last = content["stages"][-1]["name"]
    source, edited = weights(done.run_dir, "source"), weights(done.run_dir, last)
    heads = {name for name in edited if name.startswith("head")}
    assert heads and all(torch.equal(source[name], edited[name]) for name in edited.keys() - heads)
    (record,) = done.stages[last]["edits"]
    assert record["use"] == "wise_ft" and set(record["before"]) == set(record["after"]) == {"val"}
