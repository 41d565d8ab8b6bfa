"""Made-up recipes, arguments, images and small files: accepted, or refused in a sentence; never anything else."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.faults.strategies import (
    VALUES,
    arguments,
    mutated_bytes,
    mutated_data,
    mutated_text,
    small_images,
)
from transferkit.errors import InputError

QUICKSTART = Path(__file__).parents[2] / "recipes" / "quickstart.yaml"


@pytest.fixture
def fuzz(everything, note) -> Callable:
    """fuzz(kind, strategy, count, attempt): the same made-up things each time; more of them for `--faults all`."""

    def run(kind: str, strategy: st.SearchStrategy, count: int, attempt: Callable) -> None:
        came = {"accepted": 0, "a sentence": 0}

        @settings(
            max_examples=count * (25 if everything else 1),
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def tried(value) -> None:
            try:
                attempt(value)
            except InputError as refused:
                assert str(refused).strip()
                came["a sentence"] += 1
            else:
                came["accepted"] += 1

        try:
            tried()
        except BaseException:
            note(kind, "traceback")
            raise
        finally:
            for outcome, times in came.items():
                for _ in range(times):
                    note(kind, outcome)
        assert came["a sentence"]  # or nothing was hurt

    return run


@pytest.fixture
def recipe(tmp_path) -> Callable[[str | bytes], None]:
    """Read a recipe of that text."""
    from transferkit.recipe import load_recipe

    path = tmp_path / "made_up.yaml"

    def read(content: str | bytes, overrides: list[str] = []) -> None:  # noqa: B006  it is only read
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
        load_recipe(path, overrides)

    return read


def test_any_text_as_a_recipe(fuzz, recipe) -> None:
    fuzz("made-up recipe", st.text(max_size=200) | st.binary(max_size=200), 150, recipe)


def test_any_data_as_a_recipe(fuzz, recipe) -> None:
    fuzz("made-up recipe", VALUES.map(lambda value: json.dumps(value)), 100, recipe)


def test_a_recipe_that_was_edited(fuzz, recipe) -> None:
    text = "\n".join(line for line in QUICKSTART.read_text().splitlines() if not line.startswith("#"))
    fuzz("edited recipe", mutated_text(text), 120, recipe)


def test_a_recipe_with_other_values(fuzz, recipe) -> None:
    original = yaml.safe_load(QUICKSTART.read_text())
    fuzz("edited recipe", mutated_data(original).map(lambda data: json.dumps(data)), 150, recipe)


def test_arguments_of_the_command_line(fuzz, recipe) -> None:
    text = QUICKSTART.read_text()
    strategy = st.lists(arguments(yaml.safe_load(text)), min_size=1, max_size=3)
    fuzz("key=value of a command line", strategy, 150, lambda given: recipe(text, given))


def test_images(fuzz) -> None:
    from transferkit.data.images import BadImage, open_image

    def read(content: bytes) -> None:
        try:
            image = open_image(io.BytesIO(content), "made-up")
        except InputError as error:
            assert isinstance(error, BadImage)
            raise
        assert image.mode == "RGB" and min(image.size) > 0

    fuzz("damaged image", mutated_bytes(small_images()), 1500, read)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory) -> Path:
    """A tiny model with a detector."""
    from transferkit.testing.detector import tiny_guarded

    return tiny_guarded(tmp_path_factory.mktemp("guarded") / "model")


@pytest.mark.parametrize("name", ["config.json", "interference.json"])
@pytest.mark.parametrize("part", ["values", "bytes"])
def test_small_files_of_a_model(fuzz, guarded, tmp_path, name, part) -> None:
    from transferkit.deploy.interference import read_interference
    from transferkit.model.folder import open_model

    folder = tmp_path / "model"
    shutil.copytree(guarded, folder)
    whole = (folder / name).read_bytes()
    reader = open_model if name == "config.json" else read_interference

    def read(content: bytes) -> None:
        (folder / name).write_bytes(content)
        reader(folder)

    values = mutated_data(json.loads(whole)).map(lambda data: json.dumps(data).encode())
    fuzz(f"damaged {name}", values if part == "values" else mutated_bytes([whole]), 60, read)
