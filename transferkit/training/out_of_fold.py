"""What a model says of the images of its fold, which it was not trained on: a row per image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from transferkit.report import Table, csv_bytes
from transferkit.system.atomic import write_bytes
from transferkit.training.evaluation import evaluate
from transferkit.training.scoring import Scores

if TYPE_CHECKING:
    from transferkit.model.wrapper import TransferModel
    from transferkit.training.still import Still
    from transferkit.training.trainer import Trainer

FILE = "out_of_fold.csv"
COLUMNS = ("id", "label", "prediction", "fold")
DIGITS = 7


def write_out_of_fold(session: Trainer | Still, model: TransferModel, fold: int) -> None:
    """Write `out_of_fold.csv` into the stage's folder: `COLUMNS`, and the probability of every class by its name."""
    assert session.validation is not None
    scores, classes = Scores([], session.validation.samples), session.classes
    evaluate(
        model,
        session.validation,
        session.accelerator,
        len(classes),
        channels_last=session.stage.channels_last,
        keep=scores,
    )
    assert scores.logits is not None and scores.labels is not None
    if not session.accelerator.is_main_process:
        return
    predicted, shares = scores.logits.argmax(dim=1).tolist(), scores.logits.softmax(dim=1).tolist()
    known = zip(session.validation.samples.ids, scores.labels.tolist(), predicted, shares, strict=True)
    rows = [
        [id, classes[true], classes[guess], fold, *(round(share, DIGITS) for share in each)]
        for id, true, guess, each in known
    ]
    write_bytes(Path(session.plan.out) / FILE, csv_bytes(Table([*COLUMNS, *(f"p({name})" for name in classes)], rows)))
