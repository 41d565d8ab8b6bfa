"""Every kind of file of a run, damaged in every way: the right result, or a sentence. Nothing else in silence."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.faults.damage import DAMAGES, answer, kinds, mixed, restore
from tests.faults.world import difference, forked

PARTS = 8
FLIPS = 3  # of --faults all: as many bits of each file


def all_cases(world, files) -> list[tuple]:
    """(kind of file, path in the run, damage, salt): every pair, and more than one bit for `--faults all`."""
    return mixed(
        [
            (kind, path, damage, salt)
            for kind, path in files.items()
            for damage in DAMAGES
            for salt in range(FLIPS if world.everything and damage == "a bit flipped" else 1)
        ]
    )


@pytest.mark.parametrize("part", range(PARTS))
def test_a_stopped_run_goes_on_to_the_same_bits_or_says_why_not(world, stopped, note, tmp_path, part) -> None:
    cases = all_cases(world, kinds(stopped))
    wrong = []
    for number in world.chosen(len(cases), part, PARTS, sample=40):
        kind, path, damage, salt = cases[number - 1]
        hurt = tmp_path / "run"
        restore(stopped, hurt)
        DAMAGES[damage](hurt / path, salt)
        ended = forked(["resume", str(hurt), "--quiet"], world.log)
        lost = difference(hurt, world.whole) if ended.code == 0 else None
        if ended.code == 0:
            came = "resumed bit for bit" if lost is None else "WRONG"
        else:
            came = "a sentence" if ended.sentence else "traceback"
        note(f"file of a stopped run {damage}", came)
        if came in ("WRONG", "traceback"):
            wrong.append(f"{kind} {damage} ({salt}): {came} {lost or ended.said[-900:]}")
        shutil.rmtree(hurt)
    assert not wrong, "\n".join(wrong)


@pytest.fixture(scope="session")
def images(world) -> Path:
    """A few pictures of the target task's classes."""
    folder = world.folder / "images"
    rng = np.random.default_rng(0)
    for name in ("sign", "wheel"):
        (folder / "val" / name).mkdir(parents=True)
        for index in range(2):
            pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "val" / name / f"{index}.png")
    return folder


MODEL = "stages/target/model/"
READ = {  # what a verb reads of a run, by the beginnings of paths
    "compare": ("result.json", "recipe.yaml"),
    "compare an analysis": ("result.json", "recipe.yaml", "analyses/retention/"),
    "evaluate": (MODEL,),
    "predict": (MODEL,),
    "audit": (MODEL, "recipe.yaml", "result.json"),
}


def spoken(verb: str, hurt: Path, images: Path, out: Path) -> list[str]:
    """The command line of a verb."""
    return {
        "compare": ["compare", str(hurt), "--json"],
        "compare an analysis": ["compare", str(hurt), "--json", "--metric", "analyses.retention.relative_retention"],
        "evaluate": ["evaluate", str(hurt), "--data", str(images), "--json"],
        "predict": ["predict", str(hurt), str(images / "val"), "--json"],
        "audit": ["audit", str(hurt), "--analyses", "retention", "--out", str(out), "--quiet", "--json"],
    }[verb]


@pytest.fixture(scope="session")
def right_answers(world, images) -> dict:
    """What the verbs say of the whole run. It lies where it will be damaged."""
    hurt = world.folder / "hurt"
    restore(world.run, hurt)
    found = {}
    for verb in READ:
        ended = forked(spoken(verb, hurt, images, world.folder / "audits"), world.log)
        assert ended.code == 0, f"{verb}: {ended.said}"
        found[verb] = answer(ended.said)
    return found


@pytest.mark.parametrize("verb", READ)
def test_a_finished_run_answers_rightly_or_says_why_not(world, right_answers, images, note, verb) -> None:
    hurt = world.folder / "hurt"
    files = {kind: path for kind, path in kinds(world.run).items() if str(path).startswith(READ[verb])}
    assert files
    cases = all_cases(world, files)
    wrong = []
    for number in world.chosen(len(cases), 0, 1, sample=6):
        kind, path, damage, salt = cases[number - 1]
        restore(world.run, hurt)
        DAMAGES[damage](hurt / path, salt)
        ended = forked(spoken(verb, hurt, images, world.folder / "audits"), world.log)
        if ended.code == 0:
            came = "the right answer" if answer(ended.said) == right_answers[verb] else "WRONG"
        else:
            came = "a sentence" if ended.sentence else "traceback"
        note(f"file of a finished run {damage}", came)
        if came in ("WRONG", "traceback"):
            wrong.append(f"{verb}, {kind} {damage} ({salt}): {came} {ended.said[-900:]}")
    restore(world.run, hurt)
    assert not wrong, "\n".join(wrong)
