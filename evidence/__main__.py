"""python -m evidence run [ROW …] --data FOLDER | page: run experiments and store their numbers; write the page."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from evidence.artefacts import HERE, ROOT, Artefacts, artefacts
from evidence.page import PAGE, page
from evidence.results import stored


def main() -> int:
    """What the arguments ask for."""
    parser = argparse.ArgumentParser(prog="evidence", description=__doc__)
    parser.add_argument("verb", choices=["run", "page"])
    parser.add_argument("names", nargs="*", help="rows or experiments; all that fit two cores without any")
    parser.add_argument("--data", default="../shared/data", help="folder of images and weights")
    parser.add_argument("--out", default=None, help="where the run folders go; a temporary folder without it")
    given = parser.parse_args()
    known = artefacts()
    if given.verb == "run":
        for name in chosen(known, given.names):
            measure(known, name, Path(given.data).resolve(), given.out)
    PAGE.write_text(page(known), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)} is written")
    return 0


def chosen(known: Artefacts, names: list[str]) -> list[str]:
    """The experiments that were asked for, by their own name or by a row's."""
    if not names:
        return [name for name, experiment in known.experiments.items() if experiment.minutes is not None]
    by_row = {row.name: row.experiment for row in known.rows}
    unknown = [name for name in names if name not in by_row and name not in known.experiments]
    if unknown:
        sys.exit(f"there is no row or experiment called {', '.join(unknown)}; rows: {', '.join(by_row)}")
    return list(dict.fromkeys(by_row.get(name, name) for name in names))


def measure(known: Artefacts, name: str, data: Path, out: str | None) -> None:
    """Run one experiment and store its numbers."""
    from transferkit.api import execute
    from transferkit.recipe import load_recipe

    experiment = known.experiments[name]
    overrides = [text.format(data=data) for text in experiment.overrides]
    if experiment.recipe is None:
        sys.exit(f"{name} is not run here: {experiment.images}")
    print(f"{name}: {experiment.line()}", flush=True)
    loaded = load_recipe(ROOT / experiment.recipe, overrides)
    with tempfile.TemporaryDirectory() as scratch:
        result = execute(loaded, out=Path(out or scratch), quiet=True)
        found = stored(result.content, experiment.line())
    (HERE / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
