"""Made-up run folders."""

from __future__ import annotations

import pytest

from .made_up_runs import metrics, write_run


@pytest.fixture
def run_folder(tmp_path):
    return write_run(tmp_path / "runs" / "ants" / "20260101-000000-abcd", lines=metrics())
