"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

LONG = (
    *("tests/test_quickstart.py", "tests/test_recipes.py", "tests/docs/test_pages.py", "tests/plugins/test_pairs.py"),
    *("tests/deploy/test_export.py", "tests/golden/test_golden.py", "tests/reporting/test_browser.py"),
)
"""Files that take a minute: begun first, because the last one begun keeps everybody waiting."""
REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    """What tests/golden compares with is written anew only when that is asked for; ten quickstarts take a while."""
    parser.addoption("--write-golden", action="store_true", help="store the reports of tests/golden as they are now")
    parser.addoption("--quickstart-seeds", type=int, default=0, help="run the whole quickstart on so many seeds")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first; all others in the order in which they were."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests neither read nor fill the user's cache."""
    os.environ["TRANSFERKIT_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True, scope="session")
def _no_waiting_for_the_disk() -> None:
    """Thirty times in each of a thousand short runs. That a file is on the disk only a power cut could test; that it is
    open still is looked at, and what a disk that fails does is tested where one fails."""
    os.fsync = os.fstat  # type: ignore[assignment]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images and weights that lies beside the checkout."""
    if not REAL_DATA.is_dir():
        pytest.skip("no ../shared/data beside the checkout")
    return REAL_DATA


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium, for the files that are marked as needing it."""
    from tests.browsers import BROWSER, playwright

    with playwright.sync_playwright() as runner:
        found = runner.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield found
        found.close()
