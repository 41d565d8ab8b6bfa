"""python -m tests.faults.atheris_intake: bytes chosen by coverage, as an image and as a recipe, for a bounded time.

Needs atheris, which is no dependency: where it is not installed nothing is tried, and that is said. libFuzzer ends its
process, so each target has one of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path

RECIPES = Path(__file__).parents[2] / "recipes"
TARGETS = ("image", "recipe")


def fuzz(target: str, corpus: str, seconds: int) -> None:
    """Until the time is over or something else than a sentence comes out; never returns."""
    import atheris

    with atheris.instrument_imports(include=["transferkit", "PIL", "yaml"]):
        from transferkit.data.images import BadImage, open_image
        from transferkit.errors import InputError
        from transferkit.recipe import load_recipe
    made_up = Path(corpus).with_suffix(".yaml")

    def image(content: bytes) -> None:
        with contextlib.suppress(BadImage):
            open_image(io.BytesIO(content), "made-up")

    def recipe(content: bytes) -> None:
        made_up.write_bytes(content)
        with contextlib.suppress(InputError):
            load_recipe(made_up)

    options = [
        f"-max_total_time={seconds}",
        "-timeout=20",
        "-rss_limit_mb=4096",
        "-verbosity=0",
        f"-artifact_prefix={corpus}/",
    ]
    atheris.Setup([sys.argv[0], *options, corpus], {"image": image, "recipe": recipe}[target])
    atheris.Fuzz()


def seeds(target: str) -> list[bytes]:
    """Where it begins."""
    if target == "recipe":
        return [path.read_bytes() for path in sorted(RECIPES.rglob("*.yaml"))]
    from tests.faults.strategies import small_images

    return small_images()


def main() -> int:
    """1 where a target came to something else than a sentence."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=120, help="for each target")
    parser.add_argument("--outcomes", type=Path, help="add what came of it to this JSON-lines file")
    parser.add_argument("--target", nargs=2, help=argparse.SUPPRESS)  # the target and its corpus, in the child
    given = parser.parse_args()
    if given.target:
        fuzz(*given.target, given.seconds)
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed: no fuzzing by coverage")
        return 0
    failed = 0
    for target in TARGETS:
        with tempfile.TemporaryDirectory() as work:
            corpus = f"{work}/corpus"
            Path(corpus).mkdir()
            for number, content in enumerate(seeds(target)):
                (Path(corpus) / str(number)).write_bytes(content)
            command = [sys.executable, "-m", "tests.faults.atheris_intake", "--seconds", str(given.seconds)]
            done = subprocess.run([*command, "--target", target, corpus], check=False, cwd=Path(__file__).parents[2])
        came = "a sentence or accepted, all the time" if done.returncode == 0 else "traceback"
        failed |= done.returncode != 0
        if given.outcomes is not None:
            with given.outcomes.open("a") as file:
                fault = f"{target} made up by coverage for {given.seconds} s"
                file.write(json.dumps({"fault": fault, "outcome": came, "times": 1}) + "\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
