"""Short runs draw what somebody looks at."""

from tests.training.conftest import _no_confusion_matrices  # noqa: F401
