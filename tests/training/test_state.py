from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from transferkit.errors import InputError
from transferkit.training.state import load_tree, save_tree, snapshot


def test_an_optimizers_state_survives(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    save_tree(tmp_path / "optimizer", optimizer.state_dict())

    other = torch.optim.AdamW(model.parameters(), lr=0.5)
    other.load_state_dict(load_tree(tmp_path / "optimizer"))
    ours, theirs = optimizer.state_dict(), other.state_dict()
    assert ours["param_groups"][0]["lr"] == theirs["param_groups"][0]["lr"] == 0.1
    for index in ours["state"]:
        for name, value in ours["state"][index].items():
            assert torch.equal(value, theirs["state"][index][name])


def test_numbers_text_lists_and_none_survive(tmp_path: Path) -> None:
    tree = {"a": [1, 2.5, None, "x", True], "b": {"c": {1: torch.arange(3), 2: []}}, "empty": {}}
    save_tree(tmp_path / "t", tree)
    loaded = load_tree(tmp_path / "t")
    assert loaded["a"] == tree["a"]
    assert loaded["empty"] == {}
    assert torch.equal(loaded["b"]["c"][1], torch.arange(3))
    assert loaded["b"]["c"][2] == []


def test_anything_else_is_refused_by_place(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"state at a\.0 is an object"):
        save_tree(tmp_path / "t", {"a": [object()]})


def test_a_snapshot_is_a_copy() -> None:
    weight = torch.arange(6.0).reshape(2, 3)
    tree = {"a": weight, "transposed": weight.T, "b": [1, "x", {3: weight[0]}]}
    taken = snapshot(tree)
    weight.zero_()
    assert torch.equal(taken["a"], torch.arange(6.0).reshape(2, 3))
    assert torch.equal(taken["transposed"], torch.arange(6.0).reshape(2, 3).T)
    assert torch.equal(taken["b"][2][3], torch.arange(3.0))
    assert taken["transposed"].is_contiguous()
