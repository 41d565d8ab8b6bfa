"""Trials are drawn by key, stay what they were after a kill, and bad ones end early."""

from __future__ import annotations

import json
from importlib.util import find_spec

import numpy as np
import pytest
from scipy import stats

from transferkit.errors import InputError
from transferkit.sweeps.search import Sampler, draw
from transferkit.sweeps.spec import Search, Space, read_sweep

from .conftest import write_sweep

SEARCH = """
name: searched
recipe: tiny.yaml
search:
  trials: 3
  space:
    stages.target.optimizer.lr: {low: 1.0e-4, high: 1.0e-1, log: true}
    stages.target.batch_size: {choices: [8, 14]}
"""


def drawn(count, **space):
    search = Search(space={"a": Space(**space)}, trials=1)
    return [draw(search, index)["a"] for index in range(count)]


def test_draws_are_even_over_their_space():
    assert stats.kstest(drawn(2000, low=2, high=5), stats.uniform(2, 3).cdf).pvalue > 0.001
    logs = np.log(drawn(2000, low=1e-4, high=1.0, log=True))
    assert stats.kstest(logs, stats.uniform(np.log(1e-4), -np.log(1e-4)).cdf).pvalue > 0.001
    whole = np.bincount(drawn(3000, low=0.5, high=3.2, whole=True), minlength=4)
    assert whole[0] == 0 and stats.chisquare(whole[1:]).pvalue > 0.001
    assert {str(one) for one in drawn(50, choices=[[1], None])} == {"[1]", "None"}


def test_a_trial_is_the_same_whatever_else_is_searched():
    one = Search(space={"a": Space(low=0, high=1)}, trials=1)
    two = Search(space={"b": Space(choices=[1, 2]), "a": Space(low=0, high=1)}, trials=9)
    assert [draw(one, index)["a"] for index in range(5)] == [draw(two, index)["a"] for index in range(5)]
    assert draw(one, 0) != draw(Search(space=one.space, trials=1, seed=1), 0)


def test_all_trials_run_and_stay_what_they_were(drive, tmp_path):
    file = write_sweep(tmp_path, SEARCH)
    folder, standings, executor, _ = drive(file, tmp_path / "out")
    assert len(executor.commands) == 3 and {one.status for one in standings.values()} == {"done"}
    trials = json.loads((folder.path / "trials.json").read_text())
    assert [entry.settings for entry in folder.entries] == trials
    _, standings, executor, _ = drive(file, tmp_path / "out")
    assert executor.commands == [] and len(standings) == 3


def test_tpe_needs_optuna_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("transferkit.sweeps.search.find_spec", lambda name: None)
    sweep = read_sweep(write_sweep(tmp_path, SEARCH.replace("trials: 3", "trials: 3\n  method: tpe")))
    with pytest.raises(InputError, match="pip install"):
        Sampler(sweep, tmp_path, None, None, allow_plugins=False)


@pytest.mark.skipif(find_spec("optuna") is None, reason="optuna is not installed")
def test_tpe_goes_on_with_what_trials_came_to(drive, tmp_path):
    file = write_sweep(tmp_path, SEARCH.replace("trials: 3", "trials: 4\n  method: tpe"))
    folder, _standings, executor, _ = drive(file, tmp_path / "out")
    assert len(executor.commands) == 4
    before = json.loads((folder.path / "trials.json").read_text())
    (folder.path / "trials.json").write_text(json.dumps(before[:3]))
    drive(file, tmp_path / "out")
    assert json.loads((folder.path / "trials.json").read_text()) == before


def test_a_trial_that_is_worse_than_half_of_the_others_was_ends(tmp_path, monkeypatch):
    sweep = read_sweep(write_sweep(tmp_path, SEARCH.replace("trials: 3", "trials: 7\n  prune: true")))
    curves = {f"t{number}": [0.1 * number, 0.2 * number] for number in range(1, 6)} | {"bad": [0.2], "good": [0.4]}
    sampler = Sampler.__new__(Sampler)
    sampler.search, sampler._looked = sweep.search, -100.0

    class Cell:
        seed = 0

        def __init__(self, name):
            self.name = name

    sampler.planned = [Cell(name) for name in curves]
    monkeypatch.setattr(Sampler, "_curve", lambda self, cell: curves[cell.name])
    monkeypatch.setattr(Sampler, "_length", lambda self, cell: 2)
    ended = sampler.hopeless(sampler.planned[-2:])
    assert list(ended) == ["bad"] and "0.3" in ended["bad"]  # the median of .1 .2 .3 .4 .5 after one evaluation
