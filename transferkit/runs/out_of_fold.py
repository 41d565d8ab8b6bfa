"""The answers of all folds in one table: each image by the model that was not trained on it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transferkit.runs.over_seeds import over_seeds
from transferkit.system.atomic import make_folder, write_text
from transferkit.training.out_of_fold import FILE


def gather(folder: Path, repeats: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Write `out_of_fold/STAGE.csv` from what the folds so far have written; {stage: its file, images and top-1}.

    `top1` is that of all images together, each counted once; `over_folds` has mean and interval of the folds' own.
    """
    found = {}
    for name in repeats[0]["stages"] if repeats else ():
        files = [Path(repeat["run_dir"]) / "stages" / name / FILE for repeat in repeats]
        texts = [file.read_text(encoding="utf-8") for file in files if file.is_file()]
        if not texts:
            continue
        heads, bodies = zip(*(text.split("\n", 1) for text in texts), strict=True)
        make_folder(folder / "out_of_fold")
        place = folder / "out_of_fold" / f"{name}.csv"
        write_text(place, heads[0] + "\n" + "".join(bodies))
        rows = list(csv.DictReader(io.StringIO("".join([heads[0], "\n", *bodies]), newline="")))
        right: dict[str, list[bool]] = {}
        for row in rows:
            right.setdefault(row["fold"], []).append(row["label"] == row["prediction"])
        shares = [sum(ones) / len(ones) for ones in right.values()]
        found[name] = {
            "file": f"out_of_fold/{place.name}",
            "images": len(rows),
            "top1": sum(map(sum, right.values())) / max(len(rows), 1),
            "over_folds": asdict(over_seeds(shares)),
        }
    return found
