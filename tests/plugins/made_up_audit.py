"""A session whose models said exactly what a test wants: their features are the logits themselves."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import numpy as np
import torch

from transferkit.analysis import Predictions
from transferkit.analysis.plots import picture
from transferkit.data.randomness import numpy_rng
from transferkit.errors import InputError
from transferkit.model import SourceHead


def logits_of(probabilities):
    """Rows of probabilities as logits."""
    return torch.as_tensor(np.asarray(probabilities), dtype=torch.float64).clamp(min=1e-30).log().float()


def sure_of(classes, size, logit=9.0):
    """(n, size) logits that name these classes."""
    return logit * torch.nn.functional.one_hot(torch.as_tensor(classes), size).float()


class MadeUp:
    """Answers by role: `source` and `swap` (n, K_s) logits on the source images, `target_images` (m, K_s) of M^s on
    the target images, `votes` (n, K_t) of M^t and `baseline` (n, K_t) of M^b on the source images."""

    def __init__(self, out, labels, *, swap, source=None, target_images=None, votes=None, baseline=None, names=None):
        self.out, self.seed, self.device = out, 0, torch.device("cpu")
        self.labels = torch.as_tensor(labels, dtype=torch.int64)
        size = swap.shape[1]
        self.names = names or [f"class {i}" for i in range(size)]
        self.swap, self.source, self.target_images = swap, source, target_images
        self.votes = votes if votes is not None else torch.zeros(len(swap), 2)
        self.target_classes = [f"target {j}" for j in range(self.votes.shape[1])]
        self.baseline, self.baseline_classes = baseline, self.target_classes
        self.peers, self.source_head_is_probe, self.computed = {}, False, []
        self._head = SourceHead(torch.eye(size, size + self.votes.shape[1]), None, self.names)
        self._cache = {}

    def has(self, role):
        return {"source": self.source, "target": self.swap, "baseline": self.baseline}[role] is not None

    def source_head(self):
        return self._head

    def model(self, role="target"):
        norm = torch.nn.BatchNorm2d(3)
        return SimpleNamespace(net=torch.nn.Sequential(norm), preprocessing="any", classes=self.target_classes)

    def describe(self, role):
        return f"{role} (made up)"

    def peer(self, name):
        return self.peers.get(name)

    def digest(self, role):
        return role

    def data_digest(self, data="source", split=None):
        return data

    def rng(self, *parts):
        return numpy_rng(self.seed, "analysis", *parts)

    def progress(self, total, description):
        return nullcontext(SimpleNamespace(advance=lambda count=1: None))

    def cached(self, facts, compute):
        key = repr(sorted(facts.items()))
        if key not in self._cache:
            self.computed.append(facts)
            self._cache[key] = compute()
        return self._cache[key]

    @contextmanager
    def picture(self, name, width=6.4, height=4.0):
        with picture(self.out / f"{name}.svg", width, height) as drawn:
            yield drawn

    def predictions(self, model="target", data="source", split=None):
        if data == "target":
            if self.target_images is None:
                raise InputError("this analysis has no target images; name a data set")
            return self._of(self.target_images, None, torch.zeros(len(self.target_images), dtype=torch.int64))
        logits = {"source": self.source, "target": self.swap, "baseline": self.swap}[model]
        own = {"source": None, "target": self.votes, "baseline": self.baseline}[model]
        classes = self.baseline_classes if model == "baseline" else self.target_classes
        return self._of(logits, own, self.labels, classes)

    def _of(self, logits, own, labels, classes=()):
        """Features are source logits, then target logits; each head reads its own part."""
        size, targets = len(self.names), self.votes.shape[1]
        own = own if own is not None else torch.zeros(len(logits), targets)
        weight = torch.cat([torch.zeros(targets, size), torch.eye(targets)], dim=1)
        head = SourceHead(weight, None, list(classes))
        ids = [f"image {i}" for i in range(len(labels))]
        return Predictions(torch.cat([logits.float(), own.float()], dim=1), labels, ids, self.names, head)


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
