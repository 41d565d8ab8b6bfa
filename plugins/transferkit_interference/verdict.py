"""What the numbers say, for a reader who knows no paper; and where the detector loses."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from transferkit_interference.evaluation import Row
from transferkit_interference.fitting import Shipped

QUESTIONS: tuple[tuple[str, Callable[[Row], float]], ...] = (
    ("noticing unseen source images", lambda row: row.presence.value),
    ("noticing source images behind a pasted target image", lambda row: row.composites.value),
    ("finding the inputs that the model gets wrong", lambda row: -row.aurc),
    ("staying silent on source classes that are common in the target", lambda row: row.specificity.value),
)
"""Each with a number that is larger when the detector is better."""


def verdict(shipped: Shipped, chosen: Row, rows: Sequence[Row], images: int) -> str:
    """Up to three sentences."""
    text = (
        f"The detector watches {len(shipped.score.lingering)} lingering source classes and flags scores above "
        f"{shipped.detect_p:.3g}; it flagged {100 * shipped.false_alarms.value:.1f} % of {shipped.judged} clean images "
        "that had no part in it"
    )
    if math.isfinite(chosen.tpr):
        text += f", and {100 * chosen.tpr:.0f} % of {images} unseen source images (AUROC {chosen.presence.value:.3f})"
    elif math.isfinite(chosen.presence.value):
        text += f"; AUROC of {images} unseen source images: {chosen.presence.value:.3f}"
    return f"{text}. {_standing(chosen, rows)}"


def _standing(chosen: Row, rows: Sequence[Row]) -> str:
    lost = [f"{question} ({loss})" for question, value in QUESTIONS if (loss := _loss(chosen, rows, value))]
    asked = sum(math.isfinite(value(chosen)) for _, value in QUESTIONS)
    if not asked:
        return "What it is worth could not be measured."
    if not lost:
        return "No detector of the same cost is better in any of the questions asked."
    return f"At the same cost others are better at {_joined(lost)}."


def _loss(chosen: Row, rows: Sequence[Row], value: Callable[[Row], float]) -> str | None:
    """Who is better at no more passes, with both numbers; None where nobody is."""
    mine = value(chosen)
    rivals = [
        row
        for row in rows
        if row is not chosen and row.detector.passes <= chosen.detector.passes and math.isfinite(value(row))
    ]
    if not rivals or not math.isfinite(mine):
        return None
    best = max(rivals, key=value)
    theirs, own = f"{abs(value(best)):.3f}", f"{abs(mine):.3f}"
    return None if value(best) <= mine or theirs == own else f"{best.detector.name}: {theirs} against {own}"


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{'; '.join(parts[:-1])}; and {parts[-1]}"
