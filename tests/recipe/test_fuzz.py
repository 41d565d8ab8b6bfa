"""Whatever is in a recipe file or in an override: a Recipe, or an InputError in which every problem has a place."""

from __future__ import annotations

import os
import random
import re
import shutil
from pathlib import Path

import pytest

from transferkit.errors import InputError
from transferkit.plugins.registry import Registry
from transferkit.recipe import load_recipe

from .fuzz import FOLDER, PIECES, long_line, mutated, override
from .small_recipes import RECIPE

PLACE = re.compile(r"[\w./-]+(:\d+:\d+)?|command line: .*", re.DOTALL)
SMALL = Path("recipe.yaml")


def attempt(path: Path, arguments: list[str], seen: object, registry: Registry | None = None) -> bool:
    """Whether the recipe was refused. Anything but an InputError with places is a failure of the test."""
    try:
        load_recipe(path, arguments, registry)
    except InputError as refused:
        assert refused.problems, seen
        for problem in refused.problems:
            assert problem.message.strip() and PLACE.fullmatch(problem.where), (problem, seen)
        str(refused).encode("utf-8")
        return True
    except Exception as error:
        raise AssertionError(f"{type(error).__name__} for {seen!r}") from error
    return False


@pytest.fixture
def shipped(place) -> dict[Path, str]:
    """A copy of all recipes that ship."""
    shutil.copytree(FOLDER, "recipes")
    return {path: path.read_text(encoding="utf-8") for path in sorted(Path("recipes").rglob("*.yaml"))}


def test_mutated_files(place, registry):
    rng, refused = random.Random(20), 0
    for turn in range(1200):
        content = mutated(RECIPE, rng)
        SMALL.write_bytes(content)
        refused += attempt(SMALL, [], (turn, content), registry)
    assert 800 < refused < 1190  # most are wrong, and some mutations do no harm


def test_mutations_of_what_ships(shipped):
    rng = random.Random(21)
    for path, text in shipped.items():
        for _ in range(max(1, 4000 // (500 + len(text)))):
            content = mutated(text, rng)
            changed = path.with_name("mutated.yaml")
            changed.write_bytes(content)
            attempt(changed, [], (path, content[-300:]))


@pytest.mark.parametrize("length", [70_000, 10_000_000])
def test_a_very_long_line(place, registry, length):
    SMALL.write_text(long_line(RECIPE, length))
    attempt(SMALL, [], length, registry)


def test_mutated_overrides(place, registry):
    rng = random.Random(22)
    for _ in range(350):
        arguments = [override(RECIPE, rng) for _ in range(rng.choice((1, 1, 2, 3)))]
        attempt(SMALL, arguments, arguments, registry)
    for piece in PIECES:
        for key in ("seed", "stages.target.epochs", "+stages.target.regularizers"):
            attempt(SMALL, [f"{key}={piece}"], (key, piece), registry)


ODD = ["x" * 400, "a/" * 3000, ".", "/dev/zero", "/dev/null", "~nobody/x", "pipe", "loop", "a\u0000b",
       "\udcff", "", " ", "mutated.yaml", "recipes", "\x1b[2J", "/proc/self/mem", "x.yaml/y"]  # fmt: skip


@pytest.mark.parametrize("door", ["extends", "weights", "folder", "npz", "tar", "labels", "start", "local-dir"])
def test_odd_paths_at_every_door(shipped, door):
    os.mkfifo("pipe")
    os.symlink("loop", "loop")
    for odd in ODD:
        quoted = '"' + odd.encode("unicode_escape").decode().replace('"', '\\"') + '"'
        model, start, data, top = "model: {name: test_resnet}", "scratch", "folder: recipes", ""
        if door == "extends":
            top = f"extends: {quoted}\n"
        elif door == "weights":
            model = f"model: {{name: test_resnet, weights: {quoted}}}"
        elif door == "local-dir":
            model = f'model: {{name: "local-dir:{quoted[1:]}}}'
        elif door == "start":
            start = quoted
        elif door == "labels":
            data = f"folder: recipes, labels: {quoted}"
        else:
            data = f"{door}: {quoted}"
        stage = f"{{name: a, start: {start}, dataset: d, epochs: 1}}"
        text = f"{top}name: x\n{model}\ndatasets: {{d: {{{data}}}}}\nstages: [{stage}]\n"
        Path("mutated.yaml").write_text(text, encoding="utf-8")
        attempt(Path("mutated.yaml"), [], (door, odd))


@pytest.mark.parametrize("odd", [*ODD, "a\0b"])
def test_odd_recipe_paths(place, odd):
    os.mkfifo("pipe")
    os.symlink("loop", "loop")
    Path("mutated.yaml").write_text("name: [\n")
    with pytest.raises(InputError):
        load_recipe(odd)
