"""Which trackers there are by name, and whether the package of each is installed; nothing is imported."""

from __future__ import annotations

from importlib.util import find_spec

from transferkit.words.suggest import did_you_mean

PACKAGES = {
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "trackio": "trackio",
    "comet_ml": "comet_ml",
    "aim": "aim",
    "clearml": "clearml",
    "dvclive": "dvclive",
    "swanlab": "swanlab",
}
"""{name in a recipe: the package that it needs}: those that Accelerate knows."""


def wrong_tracker(name: str) -> tuple[str, str | None] | None:
    """What is wrong with the name of a tracker, and what would help; None where it can be used."""
    package = PACKAGES.get(name)
    if package is None:
        return f'there is no tracker called "{name}"', did_you_mean(name, PACKAGES)
    if find_spec(package) is None:
        return f"the tracker {name} is not installed", f"pip install {package.replace('_', '-')}, or leave it out"
    return None
