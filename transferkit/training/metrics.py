"""Sums over an epoch without a device sync per step, and the files they end in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import gather_object
from torch import Tensor

from transferkit.errors import InputError, StorageError
from transferkit.report import json_text
from transferkit.system.atomic import append_text, write_bytes
from transferkit.training.objective import Losses, add_to
from transferkit.training.pictures import log_confusion
from transferkit.training.tracking import send
from transferkit.words.formats import named

if TYPE_CHECKING:
    from accelerate import Accelerator

    from transferkit.training.anchors import WeightedAnchor
    from transferkit.training.evaluation import Evaluation

RECENT = 5
Key = tuple[str, str, str]  # (raw|weighted|task, instance, term)


class Totals:
    """What an epoch has cost so far. Steps are kept as tensors and added up only when someone looks."""

    def __init__(self) -> None:
        self.images = 0
        self.recent: list[float] = []
        self._sums: dict[Key, float] = {}
        self._correct = self._seen = 0
        self._pending: list[tuple[int, dict[Key, Tensor]]] = []
        self._hits: list[Tensor] = []

    def count(self, logits: Tensor, labels: Tensor) -> None:
        """Note how many of a batch's first guesses are right; with soft labels the largest one is meant.

        Labels that are numbers, (n,), are nothing to be right about.
        """
        if labels.ndim == 1 and labels.is_floating_point():
            return
        hard = labels.argmax(dim=1) if labels.ndim == 2 else labels
        self._hits.append(logits.detach().argmax(dim=1).eq(hard).sum())
        self._seen += len(hard)

    def add(self, losses: Sequence[Losses], images: int) -> None:
        """Add one optimizer step of so many images."""
        values: dict[Key, Tensor] = {}
        for loss in losses:
            add_to(values, ("task", "", ""), loss.task)
            for key, value in loss.raw.items():
                add_to(values, ("raw", *key), value)
            for key, value in loss.weighted.items():
                add_to(values, ("weighted", *key), value)
        self._pending.append((images, values))
        self.images += images

    def newest(self) -> dict[str, Tensor]:
        """The losses of the last step: `task`, and each plugin's weighted terms."""
        _, values = self._pending[-1]
        named = {"task": values["task", "", ""]}
        for (kind, instance, term), value in values.items():
            if kind == "weighted":
                named[f"{instance}.{term}" if term else instance] = value
        return named

    def settle(self) -> None:
        """Bring what is pending to the host, in one transfer."""
        if not self._pending:
            return
        flat = [value.detach().double().reshape(()) for _, values in self._pending for value in values.values()]
        numbers = iter(torch.stack(flat).tolist())
        tasks = []
        for images, values in self._pending:
            for key in values:
                number = next(numbers)
                self._sums[key] = self._sums.get(key, 0.0) + number * images
                if key[0] == "task":
                    tasks.append(number)
        self._correct += int(torch.stack(self._hits).sum()) if self._hits else 0
        self.recent = (self.recent + tasks)[-RECENT:]
        self._pending, self._hits = [], []

    def running(self) -> dict[str, float]:
        """The means so far: the task's loss, which is what validation reports too, and each plugin's weighted value."""
        means = {key: value / max(self.images, 1) for key, value in self._sums.items()}
        weighted: dict[str, float] = {}
        for (kind, instance, _), value in means.items():
            if kind == "weighted":
                weighted[instance] = weighted.get(instance, 0.0) + value
        return {"loss": means.get(("task", "", ""), 0.0), **weighted}

    def record(self, anchors: Sequence[WeightedAnchor], epoch: float, accelerator: Accelerator) -> dict[str, Any]:
        """The epoch's `loss`, `top1` (NaN without classes) and `terms`, over all processes; anchors are valued now."""
        sums = self._sums
        correct, seen = self._correct, self._seen
        if accelerator.num_processes > 1:
            keys = list(sums)
            # each process's task loss is scaled so that the mean over processes is the global one
            local = torch.tensor([*sums.values()], dtype=torch.float64, device=accelerator.device)
            sums = dict(zip(keys, accelerator.reduce(local, "mean").tolist(), strict=True))
            counts = torch.tensor([correct, seen], device=accelerator.device)
            correct, seen = accelerator.reduce(counts, "sum").tolist()
        means = {key: value / max(self.images, 1) for key, value in sums.items()}
        values = [pair for pair in means.items() if pair[0][0] != "task"]
        for item in anchors:
            value, key = float(item.anchor.value()), (item.instance, item.anchor.term)
            values += [(("raw", *key), value), (("weighted", *key), value * item.weight(epoch))]
        terms: dict[str, Any] = {}
        for (kind, instance, term), value in values:
            entry = terms.setdefault(instance, {"raw": 0.0, "weighted": 0.0})
            entry[kind] += value
            if term:
                entry.setdefault("terms", {}).setdefault(term, {"raw": 0.0, "weighted": 0.0})[kind] += value
        loss = means.get(("task", "", ""), float("nan"))
        top1 = correct / seen if seen else float("nan")
        return {"loss": loss, "top1": top1, "images": self.images, "terms": terms}

    def state(self, accelerator: Accelerator) -> dict[str, Any]:
        """For a checkpoint in the middle of an epoch: what each process has summed up."""
        self.settle()
        own = {
            "images": self.images,
            "correct": self._correct,
            "seen": self._seen,
            "recent": self.recent,
            "sums": [[*key, value] for key, value in self._sums.items()],
        }
        return {"by_process": gather_object([own]) if accelerator.num_processes > 1 else [own]}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], accelerator: Accelerator) -> Totals:
        """The other half of `state`; with another number of processes all go on from the first one's sums."""
        every = state["by_process"]
        own = every[accelerator.process_index if len(every) == accelerator.num_processes else 0]
        totals = cls()
        totals.images, totals._correct, totals._seen = own["images"], own["correct"], own["seen"]
        totals.recent = list(own["recent"])
        totals._sums = {(kind, instance, term): value for kind, instance, term, value in own["sums"]}
        return totals


class MetricsLog:
    """`metrics.jsonl` and the trackers. Only the main process writes.

    Records that the disk does not take are kept until it does: no checkpoint is written before.
    """

    def __init__(self, path: Path, accelerator: Accelerator, warn: Callable[[str], None] = print) -> None:
        self.path = path
        self.early_path = path.with_name("early_steps.jsonl")
        self.accelerator = accelerator
        self.warn = warn
        self._unwritten: dict[Path, str] = {}

    def scalars(self, values: Mapping[str, Any] | None, step: int, prefix: str = "") -> None:
        """Send numbers to the trackers."""
        if values:
            self._track({f"{prefix}{name}": float(value) for name, value in values.items()}, step)

    def early(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Append what was found between epochs to early_steps.jsonl, and send it to the trackers."""
        if self.accelerator.is_main_process:
            self._record(self.early_path, records, "early/")

    def epoch(self, records: Sequence[Mapping[str, Any]], found: Mapping[str, Evaluation], classes: list[str]) -> None:
        """Append the records of an epoch, durably, and send them to the trackers."""
        if not self.accelerator.is_main_process:
            return
        self._record(self.path, records)
        for name, evaluation in found.items() if len(classes) <= 50 else ():
            if evaluation.num_classes:  # numbers have no classes to confuse
                log_confusion(self.accelerator, name, evaluation.confusion, classes, int(records[0]["step"]))

    def rewind(self, stage: str, step: int, known: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Forget records of this stage after `step`, which will be made again, and a line that a crash cut short.

        `known` is what a checkpoint says was `written`: so many bytes stay as they are, and a line after them that
        cannot be read is forgotten. Without one nobody knows whose such a line is: raises InputError.
        """
        for path in (self.path, self.early_path):
            if self.accelerator.is_main_process and path.is_file():
                content = path.read_bytes()
                sure = (known or {}).get(path.name, {}).get("bytes", 0)
                *lines, torn = content[sure:].split(b"\n")
                kept = [line for line in lines if not _later(line, stage, step, f"{path}", known is None)]
                if torn or len(kept) < len(lines):
                    write_bytes(path, content[:sure] + b"".join(line + b"\n" for line in kept))

    def written(self, up_to: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, dict[str, Any]]:
        """{file: bytes and SHA-256} of what is recorded; with an earlier answer, of as many bytes as it speaks of."""
        found = {}
        for path in (self.path, self.early_path):
            content = path.read_bytes() if path.is_file() else b""
            if up_to is not None:
                content = content[: up_to.get(path.name, {}).get("bytes", 0)]
            found[path.name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        return found

    def flush(self) -> None:
        """Write what the disk did not take before. Raises StorageError."""
        for path, text in list(self._unwritten.items()):
            append_text(path, text)
            del self._unwritten[path]

    def _record(self, path: Path, records: Sequence[Mapping[str, Any]], prefix: str = "") -> None:
        lines = "".join(json_text(record) + "\n" for record in records)
        self._unwritten[path] = self._unwritten.get(path, "") + lines
        try:
            self.flush()
        except StorageError as error:
            self.warn(f"{error}; the records are kept in memory and written as soon as possible")
        for record in records:
            flat = {f"{prefix}{record['split']}/{k}": v for k, v in record.items() if isinstance(v, float)}
            for instance, entry in record.get("terms", {}).items():
                flat |= {f"terms/{instance}/{kind}": entry[kind] for kind in ("raw", "weighted")}
            flat |= {
                f"{prefix}{record['split']}/{tag}": value for tag, value in named(record.get("metrics", {})).items()
            }
            self._track(flat, record["step"])

    def _track(self, values: Mapping[str, Any], step: int) -> None:
        """A tracker that fails costs its curves, not the run."""
        send(self.accelerator.trackers, values, step, self.warn)


def _later(line: bytes, stage: str, step: int, place: str, strict: bool) -> bool:
    """Whether it is a record of the stage after the step, or one that cannot be read; InputError for that if strict."""
    try:
        record = json.loads(line)
        return bool(record["stage"] == stage and record["step"] > step)
    except (ValueError, KeyError, TypeError):
        if strict:
            shown = line[:60].decode("utf-8", "replace")
            raise InputError(f"{place} has a damaged line ({shown}…): put it back as it was, or remove it") from None
        return True
