"""Did-you-mean: one rule for every name a user can misspell."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

SYNONYMS = {
    "alpha": "weight",
    "batch": "batch_size",
    "bs": "batch_size",
    "data": "dataset",
    "eta": "weight",
    "iterations": "steps",
    "learning_rate": "lr",
    "max_steps": "steps",
    "num_epochs": "epochs",
    "num_workers": "workers",
    "strength": "weight",
    "train": "run",
    "finetune": "run",
    "fit": "run",
    "test": "evaluate",
    "infer": "predict",
    "wd": "weight_decay",
}


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant, if any comes close."""
    known = list(known)
    lowered = {k.lower(): k for k in known}
    key = str(name).lower()
    for variant in (key, key.replace("-", "_"), key.replace("_", "-")):
        if variant in lowered:
            return lowered[variant]
    if SYNONYMS.get(key) in known:
        return SYNONYMS[key]
    squeezed = {k.replace("_", "").replace("-", ""): name for k, name in lowered.items()}
    if (bare := key.replace("_", "").replace("-", "")) in squeezed:
        return squeezed[bare]
    matches = get_close_matches(key, list(lowered), n=1, cutoff=0.6)
    return lowered[matches[0]] if matches else None


def did_you_mean(name: str, known: Iterable[str], limit: int = 12) -> str | None:
    """A hint: the close match and what is available, or None when there is nothing to say."""
    known = sorted(known)
    match = closest(name, known)
    parts = [f'did you mean "{match}"?'] if match else []
    if known:
        listed = ", ".join(known[:limit]) + (", …" if len(known) > limit else "")
        parts.append(f"available: {listed}")
    return "   ".join(parts) or None
