"""Partners, the pace that waits for the loss, the contradictions, the card: the parts of the curriculum by hand."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transferkit_task_interpolation
from transferkit_task_interpolation.coupled import LARGEST, _refuse_sizes, sparse
from transferkit_task_interpolation.curriculum import TaskInterpolation
from transferkit_task_interpolation.lams import Pace
from transferkit_task_interpolation.partners import CoupledPartners, RandomPartners

import transferkit
from transferkit.data.randomness import numpy_rng
from transferkit.errors import InputError
from transferkit.plugins.hooks import check_signatures
from transferkit.plugins.registry import installed
from transferkit.recipe.schema import Mixup, Stage

RNG = partial(numpy_rng, 3)


def ones(count, value=0):
    return np.full(count, value, dtype=np.int64)


# --- partners -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("targets", "sources"), [(10, 10), (10, 4), (4, 10), (9, 1)])
def test_random_partners_use_every_source_image_equally_often(targets, sources):
    partners = RandomPartners(RNG, targets, sources)
    found = partners(np.arange(targets), ones(targets, 5))
    counts = np.bincount(found, minlength=sources)
    assert counts.max() - counts.min() <= 1
    assert counts.sum() == targets


def test_partners_depend_on_image_and_key_alone():
    partners, again = RandomPartners(RNG, 20, 30), RandomPartners(RNG, 20, 30)
    whole = partners(np.arange(20), ones(20, 1))
    order = np.random.default_rng(0).permutation(20)
    keys = np.where(np.arange(20) % 2, 1, 1 << 32)
    mixed = again(order, keys)
    assert (mixed[keys == 1] == whole[order[keys == 1]]).all()
    assert (whole != partners(np.arange(20), ones(20, 2))).any()


def test_a_coupled_partner_is_drawn_from_its_row():
    coupling = np.array([[0.0, 0.2, 0.0, 0.1], [0.3, 0.0, 0.0, 0.0], [0.0, 0.1, 0.1, 0.2]])
    rows, columns = np.nonzero(coupling)
    shuffled = np.random.default_rng(1).permutation(len(rows))
    partners = CoupledPartners(RNG, sparse(rows[shuffled], columns[shuffled], coupling[rows, columns][shuffled], 3))
    draws = np.array([partners(np.arange(3), ones(3, key)) for key in range(4000)])
    for row in range(3):
        wanted = coupling[row] / coupling[row].sum()
        shares = np.bincount(draws[:, row], minlength=4) / len(draws)
        assert (shares[wanted == 0] == 0).all()
        assert np.abs(shares - wanted).max() < 4 * np.sqrt(0.25 / len(draws))
    assert (partners(np.array([2, 0]), ones(2, 7)) == draws[7][[2, 0]]).all()


def test_sets_too_large_to_couple_at_once_are_refused_with_a_number_of_blocks_that_will_do():
    with pytest.raises(InputError, match="at most 5") as caught:
        _refuse_sizes(5, 8, 6)
    for targets, sources in ((50_000, 50_000), (60_000, 41_000)):
        with pytest.raises(InputError, match="give blocks: ") as caught:
            _refuse_sizes(targets, sources, 1)
        blocks = int(str(caught.value).split("give blocks: ")[1].split()[0].rstrip(","))
        _refuse_sizes(targets, sources, blocks)
    _refuse_sizes(10_000, 10_000, 1)
    assert LARGEST["assignment"] == 10_000**2


# --- pace ---------------------------------------------------------------------------------------------------


def run_pace(losses, deadline=4, band=0.5, first=0.0):
    pace = Pace(first, deadline, band)
    for epoch, loss in enumerate(losses):
        pace.observe(epoch, loss)
    return pace.lams


def test_a_steady_loss_moves_lam_by_whole_steps():
    assert run_pace([1.0] * 5) == [0.0, 0.5, 1.0, 1.0, 1.0, 1.0]
    assert run_pace([1.0] + [0.2] * 4) == [0.0, 0.5, 1.0, 1.0, 1.0, 1.0]  # below the start: no more than a step


def test_a_loss_inside_the_band_moves_it_by_what_is_left_of_the_band():
    # step 2/8 = 0.25; the band from 1.0 to 1.5: 1.25 is half of it, 1.4 leaves a fifth
    assert run_pace([1.0, 1.25, 1.4], deadline=8) == pytest.approx([0.0, 0.25, 0.375, 0.425])


def test_a_high_loss_waits_until_the_deadline_needs_whole_steps():
    assert run_pace([1.0] + [9.0] * 8, deadline=8) == pytest.approx([0, 0.25, 0.25, 0.25, 0.25, 0.25, 0.5, 0.75, 1, 1])


@pytest.mark.parametrize("deadline", [1, 2, 3, 10, 37])
@pytest.mark.parametrize("first", [0.0, 0.3])
def test_lam_never_jumps_and_is_always_there_in_time(deadline, first):
    rng = np.random.default_rng(deadline)
    for losses in (rng.random(deadline) * 2, np.full(deadline, 9.0), np.full(deadline, np.nan)):
        lams = run_pace(losses, deadline, 0.3, first)
        assert lams[0] == first and lams[deadline] == 1.0
        assert np.diff(lams).min() >= 0 and np.diff(lams).max() <= Pace(first, deadline).step + 1e-9


def test_the_pace_restores_what_it_saved():
    pace, other = Pace(0.0, 4, 0.5), Pace(0.0, 4, 0.5)
    pace.observe(0, 1.0)
    other.restore(pace.state())
    for one in (pace, other):
        one.observe(1, 1.2)
    assert other.lams == pace.lams and other.at(0) == 0.0 and other.at(9) == pace.lams[-1]


# --- the class ----------------------------------------------------------------------------------------------


def stage(**keys):
    return Stage.model_validate({"name": "t", "dataset": "target", "epochs": 10} | keys)


def problems(options, **keys):
    return TaskInterpolation(source="source", **options).check(stage(**keys))


@pytest.mark.parametrize(
    ("options", "keys", "words"),
    [
        ({}, {"epochs": 4}, "need at least 5 epochs"),
        ({}, {"epochs": None, "steps": 3}, "need at least 5 steps"),
        ({"skip_source_stage": True}, {"epochs": 3}, "need at least 4 epochs"),
        ({}, {"dataset": "source"}, "stage's own"),
        ({"mode": "mixup"}, {"mixup": Mixup(mixup=0.2)}, "the stage's mixup"),
        ({"mode": "coupled"}, {"mixup": Mixup(cutmix=0.2)}, "the stage's mixup"),
        ({"mode": "coupled"}, {"start": "scratch"}, "scratch"),
        ({}, {"fixed_features": True}, "change nothing"),
        ({"beta": True}, {}, "does not blend"),
        ({"blocks": 2}, {}, "the mode is mixture"),
        ({"band": 0.1}, {}, "pace: loss"),
        ({"pace": "loss", "shape": "cosine"}, {}, "would do nothing"),
        ({"pace": "loss", "lams": [1]}, {}, "nothing to move"),
        ({"lams": [0.5, 1], "skip_source_stage": True}, {}, "nothing to skip"),
    ],
)
def test_contradictions_are_sentences(options, keys, words):
    (sentence,) = problems(options, **keys)
    assert words in sentence


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        ({}, {}),
        ({}, {"mixup": Mixup(mixup=0.2)}),
        ({}, {"epochs": None, "steps": 7}),
        ({"shape": "cosine"}, {"epochs": 1}),
        ({"skip_source_stage": True}, {"epochs": 4}),
        ({"mode": "coupled", "blocks": 3, "beta": True, "heads": "concat"}, {}),
        ({"pace": "loss", "band": 0.3}, {}),
        ({"heads": "shared"}, {"fixed_features": True}),
    ],
)
def test_what_fits_together_is_not_refused(options, keys):
    assert problems(options, **keys) == []


@pytest.mark.parametrize("lams", [[], [0, 0.5], [0.5, 0.2, 1], [0, 0, 1], [-0.1, 1], [0, 1, 1.2], [float("nan"), 1]])
def test_lams_must_ascend_to_one(lams):
    with pytest.raises(ValueError, match="must ascend"):
        TaskInterpolation(source="source", lams=lams)


def test_a_blend_is_exact_at_the_ends_and_weighted_like_its_pixels():
    rng = torch.Generator().manual_seed(0)
    images = {name: torch.randn(4, 3, 8, 8, generator=rng) for name in ("target", "source")}
    labels = {"target": torch.arange(4), "source": torch.arange(4) % 2}
    curriculum = TaskInterpolation(source="source", mode="mixup")
    for progress, lam in ((0.0, 0.0), (0.25, 0.25), (0.5, 0.5), (0.9, 1.0)):
        made = curriculum.combine(images, labels, 0, 0, progress)
        assert made.images["target"] is made.images["source"]
        assert made.weights == {"target": lam, "source": 1 - lam}
        assert made.labels["source"] is labels["source"]
        torch.testing.assert_close(made.images["target"], lam * images["target"] + (1 - lam) * images["source"])
    assert torch.equal(curriculum.combine(images, labels, 0, 0, 0.9).images["target"], images["target"])
    assert torch.equal(curriculum.combine(images, labels, 0, 0, 0.0).images["target"], images["source"])


def test_beta_draws_have_the_mean_lam_and_most_lie_near_the_ends():
    curriculum = TaskInterpolation(source="source", mode="mixup", beta=True)
    curriculum._rng = RNG
    draws = np.array([curriculum._drawn(0.5, step) for step in range(4000)])
    assert abs(draws.mean() - 0.5) < 4 * np.sqrt(0.125 / 4000)  # Beta(½, ½) has the variance 1/8
    assert np.mean((draws < 0.1) | (draws > 0.9)) == pytest.approx(0.41, abs=0.03)
    assert curriculum._drawn(0.5, 7) == draws[7]
    assert curriculum._drawn(0.0, 7) == 0.0 and curriculum._drawn(1.0, 7) == 1.0


def test_the_source_head_is_taken_by_class_name():
    from transferkit.model import SourceHead

    head = SourceHead(torch.arange(12.0).reshape(4, 3), torch.arange(4.0), ["a", "b", "c", "d"])
    said = []
    session = SimpleNamespace(source_head=head, warn=said.append)
    curriculum = TaskInterpolation(source="source")
    found = curriculum._initial(session, SimpleNamespace(classes=["d", "a"]))
    assert found.classes == ["d", "a"]
    assert torch.equal(found.weight, head.weight[[3, 0]]) and torch.equal(found.bias, head.bias[[3, 0]])
    assert curriculum._initial(session, SimpleNamespace(classes=["d", "x"])) is None
    assert "does not know all classes" in said[0]
    cold = TaskInterpolation(source="source", source_start=False)
    assert cold._initial(session, SimpleNamespace(classes=["a"])) is None and len(said) == 1


def test_it_keeps_the_promises_of_a_plugin():
    for options in ({"shape": "linear"}, {"shape": "cosine", "mode": "mixup", "beta": True}, {"lams": [1.0]}):
        transferkit.testing.check_plugin(TaskInterpolation, source="tiny", **options)


# --- the package --------------------------------------------------------------------------------------------


def test_registered_with_sound_hooks_and_every_option_described_on_the_card():
    component = installed().get("curriculum", "task_interpolation")
    check_signatures(component.cls)
    assert component.hooks == ["check", "setup", "streams", "mix", "combine", "epoch_end"]
    card = Path(transferkit_task_interpolation.__file__).with_name("README.md").read_text(encoding="utf-8")
    for option, info in component.options.model_fields.items():
        assert info.description, option
        assert f"`{option}`" in card, option
    for heading in ("Claim", "Equation", "Cost", "Limits", "Function", "Source"):
        assert f"**{heading}" in card
    for function in transferkit_task_interpolation.__all__:
        assert f"{function}(" in card
