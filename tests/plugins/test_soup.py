"""Soups: means by hand, the greedy choice replayed, checkpoints and other runs as ingredients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transferkit_soup import Mean
from transferkit_soup.edit import Soup

from tests.plugins.two_stage_runs import recipe, run, weights
from transferkit.errors import InputError
from transferkit.testing import check_plugin


def test_means_by_hand():
    one, two, three = ({"w": torch.tensor([v, 2 * v]), "n": torch.tensor(int(v))} for v in (1.0, 2.0, 6.0))
    soup = Mean(one).with_one(two).with_one(three)
    assert soup.values()["w"].tolist() == [3.0, 6.0] and soup.values()["n"].item() == 1
    assert Mean(one).values()["w"].tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="other tensors"):
        Mean(one).with_one({"w": torch.zeros(3), "n": torch.tensor(0)})


class Session:
    """Models are single numbers; the nearer to 3 the better."""

    def __init__(self, models):
        self.models, self.notes = models, []

    def checkpoints(self):
        return {name: (lambda value=value: {"w": torch.tensor(value)}) for name, value in self.models.items()}

    def open(self, path):
        return {"w": torch.tensor(self.models[str(path)])}

    def score(self, values):
        return {"top1": 1 - abs(float(values["w"]) - 3) / 10, "loss": 0.0}

    def note(self, text, **numbers):
        self.notes.append(numbers)


class Model:
    def __init__(self, value):
        from types import SimpleNamespace

        self.net = SimpleNamespace(state_dict=lambda: {"w": torch.tensor(value)})


def greedy(values, goal=3.0):
    """The paper's recipe 1, on numbers."""
    score = lambda members: 1 - abs(np.mean(members) - goal) / 10  # noqa: E731
    order = sorted(values, key=lambda value: -score([value]))
    soup = [order[0]]
    for value in order[1:]:
        if score([*soup, value]) >= score(soup):
            soup.append(value)
    return np.mean(soup), len(soup)


@pytest.mark.parametrize("values", [[2.0, 3.5, 9.0], [1.0, 4.0, 2.5, 6.0], [3.0, 0.0], [5.0, 1.0, 2.9]])
def test_the_greedy_choice(values):
    own, *others = values
    session = Session({f"step-{i}": value for i, value in enumerate(others)})
    found = Soup().edit(Model(own), session)["w"]
    mean, count = greedy(values)
    assert float(found) == pytest.approx(mean) and session.notes[0]["averaged"] == count


def test_uniform_takes_all_and_looks_at_no_image():
    session = Session({"a": 5.0, "b": 9.0})
    session.score = None
    assert float(Soup(models=[Path("a"), Path("b")], how="uniform").edit(Model(1.0), session)["w"]) == 5.0


def test_nothing_to_average_is_refused():
    with pytest.raises(InputError, match="nothing to average with"):
        Soup().edit(Model(1.0), Session({}))


@pytest.mark.parametrize("how", ["greedy", "uniform"])
def test_the_promises_of_a_plugin(how):
    check_plugin(Soup, how=how)
    check_plugin(Soup, how=how, models=["elsewhere"])


def test_checkpoints_and_another_run(tmp_path):
    first = run(tmp_path / "first", recipe())
    other = str(first.run_dir / "stages" / "target" / "model")
    edits = [{"use": "soup", "how": "uniform"}, {"use": "soup", "name": "with", "how": "uniform", "models": [other]}]
    content = recipe(keep="last", checkpoints={"keep": 5})
    content["stages"].append({"name": "edited", "start": "target", "dataset": "permuted", "edits": edits})
    done = run(tmp_path / "second", content)
    folder = done.run_dir / "stages" / "target" / "checkpoints"
    from transferkit.training.state import load_tree

    ends = [load_tree(path / "model") for path in sorted(folder.glob("step-*"))]
    last, there, found = weights(done.run_dir), weights(first.run_dir), weights(done.run_dir, "edited")
    for name, value in found.items():
        mean = torch.stack([last[name], *(one[f"net.{name}"] for one in ends)]).double().mean(0)
        mean = torch.stack([mean.to(value.dtype), there[name]]).double().mean(0)
        torch.testing.assert_close(value.double(), mean, rtol=0, atol=1e-6)
    assert [one["name"] for one in done.stages["edited"]["edits"]] == ["soup", "with"]
