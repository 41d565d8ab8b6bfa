"""A guarded model folder."""

from __future__ import annotations

import shutil

import pytest

from transferkit.testing.detector import tiny_guarded


@pytest.fixture
def folder(tmp_path):
    return tiny_guarded(tmp_path / "model")


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """A guarded model folder with both exported formats. Not to be changed."""
    from transferkit.deploy.export import export_model

    folder = tiny_guarded(tmp_path_factory.mktemp("export") / "model")
    for form in ("onnx", "pt2"):
        export_model(folder, form)
    return folder


@pytest.fixture
def copied(exported, tmp_path):
    """A copy of it."""
    return shutil.copytree(exported, tmp_path / "model")
