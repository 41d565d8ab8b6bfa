"""Fixtures around a small recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from transferkit.errors import InputError
from transferkit.plugins.registry import Registry
from transferkit.recipe import load_recipe

from .small_recipes import RECIPE, Memory, Mix, Patch, Pull, Remember, Spectral, Watch, draw, registry_of


@pytest.fixture
def registry() -> Registry:
    return registry_of(
        regularizer={"spectral": Spectral, "pull": Pull, "remember": Remember},
        curriculum={"blend": Mix},
        corruption={"patch": Patch},
        observer={"watch": Watch},
        analyzer={"memory": Memory},
    )


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """The working directory, with a recipe and an image folder of two classes."""
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / "pets" / "train", cat=6, dog=8)
    draw(tmp_path / "pets" / "val", cat=2, dog=2)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path


@pytest.fixture
def load(place, registry) -> Callable:
    """load(*overrides, text=…): the small recipe, or another text, with the small plugins."""

    def load(*overrides, text=None, path="recipe.yaml", registry=registry):
        if text is not None:
            (place / path).write_text(text)
        return load_recipe(path, overrides, registry)

    return load


@pytest.fixture
def errors(load) -> Callable:
    """errors(…): the text that such a recipe is refused with."""

    def errors(*overrides, **options) -> str:
        with pytest.raises(InputError) as refused:
            load(*overrides, **options)
        assert refused.value.exit_code == 2
        return str(refused.value)

    return errors
