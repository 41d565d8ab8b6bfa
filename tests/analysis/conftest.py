"""Made-up run folders, and a small world to audit."""

from __future__ import annotations

import pytest

import transferkit
from transferkit.plugins.distributions import Owner
from transferkit.plugins.registry import Registry

from .audit_world import ANALYZERS, make_world
from .made_up_runs import metrics, write_run


@pytest.fixture
def run_folder(tmp_path):
    return write_run(tmp_path / "runs" / "ants" / "20260101-000000-abcd", lines=metrics())


@pytest.fixture
def analyzers(monkeypatch):
    """The registry that audits see: the analyzers of audit_world and no others."""
    registry = Registry()
    for name, cls in ANALYZERS.items():
        registry.add("analyzer", name, cls, Owner("test", "test-plugins", "1.0"))
    monkeypatch.setattr("transferkit.api.installed", lambda: registry)
    return registry


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def audit(analyzers, world, tmp_path):
    """An audit of the world's models into tmp_path/out; keywords replace or, as None, remove."""

    def run(target=world / "target", **changes):
        given = {
            "source": world / "source",
            "source_data": world / "source-images",
            "target_data": world / "target-images",
        }
        return transferkit.audit(target, out=tmp_path / "out", quiet=True, **{**given, **changes})

    return run
