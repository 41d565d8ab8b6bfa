"""Standard streams that do not take what is said: the words are lost, or one sentence says so; never the work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.world import write_recipe

FULL = Path("/dev/full")
SHORT = ("stages.source.epochs=1", "~stages.target", "~analyses.retention", "~analyses.spectrum")
pytestmark = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full")


def ended(redirected: str, *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and error of a verb whose streams the shell redirects."""
    command = [sys.executable, "-m", "transferkit", *arguments]
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f'"$@" {redirected}', "bash", *command],
        check=False, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_an_answer_that_is_lost_is_said() -> None:
    code, _, said = ended("> /dev/full", "schema")
    assert (code, said) == (1, "standard output could not be written: No space left on device\n")


@pytest.mark.parametrize("redirected", ["2> /dev/full", "2>&-", "2>&1 | true"])
def test_words_about_the_work_are_no_part_of_it(tmp_path: Path, redirected: str) -> None:
    code, _, _ = ended(redirected, "run", str(write_recipe(tmp_path)), *SHORT, "--out", str(tmp_path / "runs"))
    (run_dir,) = (tmp_path / "runs" / "attacked").iterdir()
    assert code == 0 and '"status": "done"' in (run_dir / "result.json").read_text()


@pytest.mark.parametrize("redirected", [">&-", "| true", "<&- >&- 2>&-"])
def test_nobody_reads(redirected: str) -> None:
    code, _, said = ended(redirected, "schema")
    assert (code, said) == (0, "")
