"""Made-up run folders."""

from tests.analysis.conftest import run_folder  # noqa: F401
