"""What a run says about BSS: how much it weighs, that it does nothing, that it collapses the features."""

from __future__ import annotations

import re

import pytest

STILL = {"epochs": 1, "optimizer": {"name": "momentum", "lr": 1e-9}}


def said(result) -> str:
    return (result.run_dir / "run.log").read_text(encoding="utf-8")


def warned(result) -> str:
    return "\n".join(result.stages["target"]["warnings"])


@pytest.mark.parametrize(("weight", "nothing"), [(1e-7, True), (1e-2, False)])
def test_the_share_of_the_loss_at_step_0_is_said_and_judged(run, weight: float, nothing: bool) -> None:
    result = run(**STILL, regularizers=[{"use": "bss", "weight": weight}])
    share = float(re.search(r"at step 0   bss is (\S+) of the loss", said(result))[1])
    record = result.run_dir / "metrics.jsonl"
    terms, loss = (
        re.search(r'"weighted": (\S+?)\}', record.read_text()),
        re.search(r'"loss": (\S+?),', record.read_text()),
    )
    assert share == pytest.approx(float(terms[1]) / float(loss[1]), rel=0.9)  # the epoch's mean over batches is near
    assert (share < 1e-3) is nothing
    assert ("numerically it does nothing; raise its weight" in warned(result)) is nothing


def test_a_relative_weight_says_the_same_for_features_of_any_length(run) -> None:
    shares = []
    for weight in (0.5, 1.0):
        result = run(**STILL, regularizers=[{"use": "bss", "weight": weight, "scale": "relative", "k": 4}])
        shares.append(float(re.search(r"at step 0   bss is (\S+) of the loss", said(result))[1]))
    assert shares[1] == pytest.approx(2 * shares[0], rel=0.06)


def test_a_weight_that_collapses_the_features_is_named(run) -> None:
    options = {"epochs": 6, "optimizer": {"name": "momentum", "lr": 1e-3}}
    result = run(**options, regularizers=[{"use": "bss", "weight": 3.0, "k": 7}])
    assert "the features collapse" in warned(result) and "bss pulls" in warned(result)
    assert "the features collapse" not in warned(run(**options))
