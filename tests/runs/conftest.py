"""Made-up run folders, and small runs."""

from tests.analysis.conftest import run_folder  # noqa: F401
from tests.training.conftest import _no_confusion_matrices, recipe_file, registry, run, tiny_npz  # noqa: F401
