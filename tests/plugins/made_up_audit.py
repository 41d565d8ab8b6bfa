"""Sessions whose models said exactly what a test wants, and what is looked at in their reports."""

from __future__ import annotations

import numpy as np
import torch

from transferkit.testing import MadeUpImages, MadeUpModel, made_up_session


def logits_of(probabilities):
    """Rows of probabilities as logits."""
    return torch.as_tensor(np.asarray(probabilities), dtype=torch.float64).clamp(min=1e-30).log().float()


def sure_of(classes, size, logit=9.0):
    """(n, size) logits that name these classes."""
    return logit * torch.nn.functional.one_hot(torch.as_tensor(classes), size).float()


def made_up(
    folder, labels, *, swap, source=None, target_images=None, votes=None, baseline=None, names=None, peers=None,
    baseline_classes=None,
):  # fmt: skip
    """Answers by role: `source` and `swap` (n, K_s) logits on the source images, `target_images` (m, K_s) of M^s on
    the target images, `votes` (n, K_t) of M^t and `baseline` (n, K_t) of M^b on the source images."""
    names = names or [f"class {i}" for i in range(swap.shape[1])]
    votes = votes if votes is not None else torch.zeros(len(swap), 2)
    classes = [f"target {j}" for j in range(votes.shape[1])]
    images = {"source": MadeUpImages(names, labels)}
    models = {"target": MadeUpModel(classes, {"source": votes}, {"source": swap}, norm=(0.0, 1.0))}
    if source is not None:
        models["source"] = MadeUpModel(names, {"source": source})
    if baseline is not None:
        models["baseline"] = MadeUpModel(baseline_classes or classes, {"source": baseline})
    if target_images is not None:
        images["target"] = MadeUpImages(classes, np.zeros(len(target_images), int))
        if source is not None:
            models["source"] = MadeUpModel(names, {"source": source, "target": target_images})
    return made_up_session(folder, images=images, models=models, source_classes=names, peers=peers)


def column(table, name):
    """A column of a report's table."""
    return [row[list(table.columns).index(name)] for row in table.rows]


def written(report, session):
    """Write the report, check that it has every figure it names, and give it back."""
    report.write(session.out, name="test", plugin="test", version="0", parameters={})
    assert all((session.out / name).is_file() for name in report.figures)
    assert set(report.captions) == set(report.figures)
    assert all(len(row) == len(table.columns) for table in report.tables.values() for row in table.rows)
    assert all(text == text.strip() and "  " not in text for text in (*report.notes, *report.gaps, report.verdict))
    return report
