"""What `data` finds: issues of single images and of classes, the worst first, and how many images have them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from transferkit.analysis import AnalysisSession
from transferkit.report import attempt, count
from transferkit.statistics import Estimate, share
from transferkit_data_audit.copies import NearCopies, near_copies
from transferkit_data_audit.issues import KINDS, PLACES, SHARES, Issue
from transferkit_data_audit.labels import LabelErrors, confident_errors, out_of_fold
from transferkit_data_audit.options import Options
from transferkit_data_audit.outliers import far_off
from transferkit_data_audit.pool import Pool, pooled
from transferkit_data_audit.shortcuts import Predictable, parts, predictable, where
from transferkit_data_audit.unusual import RULES, size_statistics, unusual

MAP_IMAGES = 400  # for the map of where a class can be told: 64 small classifiers


@dataclass
class Findings:
    """Everything measured."""

    pool: Pool
    issues: list[Issue] = field(default_factory=list)
    shares: dict[str, Estimate] = field(default_factory=dict)
    """{issue: the share of the images that were looked at for it}; without those that could not be measured."""
    leaked_exactly: Estimate = field(default_factory=lambda: Estimate(float("nan")))
    shortcuts: dict[str, Predictable] = field(default_factory=dict)
    """{corners, border, colour, file: what they tell}."""
    drawn: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """Places of the images that shortcuts were looked for in."""
    map: NDArray[np.float64] | None = None
    """(8, 8) how well each place tells the class of the strongest shortcut from the rest (AUC)."""
    map_class: str = ""
    gaps: list[str] = field(default_factory=list)

    def of(self, kind: str) -> list[Issue]:
        """The issues of a kind, the worst first."""
        return [one for one in self.issues if one.kind == kind]


def measure(session: AnalysisSession, options: Options) -> Findings:
    """All issues, from cached features and one reading of the pictures. Raises InputError without target images."""
    pool = pooled(session, options)
    found = Findings(pool)
    near = near_copies(pool.features, pool.looks.small)
    _labels(session, options, found, near)
    _copies(found, near)
    far, z = far_off(pool.features, pool.labels, near.groups, options.rate)
    _each(found, "outlier", far, z, "look whether it belongs to the data at all")
    _unusual(found)
    _shortcuts(session, options, found, near)
    order = {kind: place for place, kind in enumerate(KINDS)}
    found.issues.sort(key=lambda one: (order[one.kind], -one.score, one.split, one.id, one.label))
    return found


def _each(found: Findings, kind: str, flags: NDArray[np.bool_], scores: NDArray[np.float64], suggestion: str) -> None:
    """An issue for every flagged image (n,), and their share."""
    for place in np.flatnonzero(flags).tolist():
        found.issues.append(_issue(found.pool, kind, place, float(scores[place]), suggestion))
    found.shares[kind] = share(flags)


def _issue(pool: Pool, kind: str, place: int, score: float, suggestion: str, other: int = -1) -> Issue:
    return Issue(kind, pool.splits[place], pool.ids[place], pool.class_of(place), score, suggestion, place, other)


# -- labels -------------------------------------------------------------------------------------------------------


def _labels(session: AnalysisSession, options: Options, found: Findings, near: NearCopies) -> None:
    pool = found.pool
    different = np.array([len(set(near.groups[pool.labels == one])) for one in range(len(pool.classes))])
    judged = np.flatnonzero(different[pool.labels] >= options.folds)
    kept = np.unique(pool.labels[judged])
    if len(kept) < len(pool.classes):
        few = count(len(pool.classes) - len(kept), "class")
        found.gaps.append(f"Labels of {few} were not looked at: fewer than {options.folds} different images.")
    if len(kept) < 2:
        found.gaps.append("Wrong labels were not looked for: that takes two classes with images in every fold.")
        return
    labels = np.searchsorted(kept, pool.labels[judged])
    seed = int(session.rng("data", "folds").integers(2**31))
    told = attempt(
        found.gaps,
        "Wrong labels were not looked for",
        lambda: confident_errors(
            labels, out_of_fold(pool.features[judged], labels, near.groups[judged], options.folds, seed)
        ),
    )
    if told is not None:
        _add_labels(found, told, judged, [pool.classes[one] for one in kept])


def _add_labels(found: Findings, told: LabelErrors, judged: NDArray[np.int64], names: list[str]) -> None:
    for kind, flags in (("wrong label", told.errors), ("doubtful label", told.doubts)):
        for row in np.flatnonzero(flags).tolist():
            other = names[int(told.other[row])]
            says = f'looks like "{other}": move it there, or take it out'
            if kind == "doubtful label":
                says = f'may be "{other}": look at it'
            found.issues.append(_issue(found.pool, kind, int(judged[row]), float(told.score[row]), says))
        found.shares[kind] = share(flags)


# -- copies -------------------------------------------------------------------------------------------------------


def _copies(found: Findings, near: NearCopies) -> None:
    pool = found.pool
    likeness = {(int(a), int(b)): float(r) for (a, b), r in zip(near.pairs, near.alike, strict=True)}
    exact = {place for place, _ in pool.same}
    likeness |= {(min(pair), max(pair)): 1.0 for pair in pool.same}
    splits = np.array(pool.splits)
    leaked, again = np.zeros(len(pool), bool), np.zeros(len(pool), bool)
    for kind, flags in (("leak", leaked), ("copy", again)):
        best: dict[int, tuple[float, int]] = {}
        for (first, second), alike in likeness.items():
            one, other = (second, first) if splits[first] == "train" or kind == "copy" else (first, second)
            across = splits[one] != splits[other]
            if across != (kind == "leak") or (across and splits[other] != "train"):
                continue
            best[one] = max(best.get(one, (-1.0, -1)), (alike, other))
        for one, (alike, other) in best.items():
            flags[one] = True
            what = "the same file as" if kind == "leak" and one in exact else "the same picture as"
            under = "" if pool.labels[one] == pool.labels[other] else f', there labelled "{pool.class_of(other)}"'
            todo = "take one of the two out" if kind == "leak" else "keep one"
            says = f"{what} {pool.called(other)}{under}: {todo}"
            found.issues.append(_issue(pool, kind, one, alike, says, other))
    found.shares["copy"] = share(again)
    held = splits != "train"
    if held.any() and not held.all():
        found.shares["leak"] = share(leaked[held])
        if all(samples.files is not None for samples in pool.samples.values()):
            found.leaked_exactly = share(np.isin(np.flatnonzero(held), list(exact)))
    else:
        found.gaps.append("Whether images are in train and in val was not looked at: there is only one of the two.")


# -- pixels and sizes ---------------------------------------------------------------------------------------------


def _unusual(found: Findings) -> None:
    looks = found.pool.looks
    values = {"brightness": looks.brightness, "sharpness": looks.sharpness, "information": looks.information}
    values |= size_statistics(looks.widths, looks.heights)
    for kind, rule in RULES.items():
        flags, z = unusual(values[rule.statistic], rule)
        _each(found, kind, flags, np.abs(z), KINDS[kind].todo.rstrip(".").lower())


# -- shortcuts ----------------------------------------------------------------------------------------------------


def _shortcuts(session: AnalysisSession, options: Options, found: Findings, near: NearCopies) -> None:
    pool, rng = found.pool, session.rng("data", "shortcuts")
    drawn = found.drawn = evenly(pool.labels, options.images, rng)
    kept, labels = np.unique(pool.labels[drawn], return_inverse=True)
    if len(kept) < 2 or len(drawn) < 4 * options.folds:
        found.gaps.append("Shortcuts were not looked for: that takes two classes and some images of each.")
        return
    groups = near.groups[drawn]
    features = parts(pool.looks.small[drawn], pool.looks.file_facts()[drawn])
    if not features:
        found.gaps.append("Shortcuts were not looked for: all pictures are of one colour and size.")
        return
    found.shortcuts = predictable(
        features, labels, groups, folds=options.folds, permutations=options.permutations, rng=rng
    )
    strongest = (-1.0, 0)
    for name, told in found.shortcuts.items():
        for k in np.flatnonzero((told.auc >= options.strength) & (told.p <= options.alpha)).tolist():
            tell = "tell" if name == "corners" else "tells"
            says = f"{PLACES[name]} alone {tell} it from the rest: look whether that is the object"
            found.issues.append(Issue("shortcut", "all", name, pool.classes[kept[k]], float(told.auc[k]), says))
            if name != "file":
                strongest = max(strongest, (float(told.auc[k]), k))
    if strongest[0] > 0:
        some = evenly(labels, MAP_IMAGES, rng)
        found.map_class = pool.classes[kept[strongest[1]]]
        flags = labels[some] == strongest[1]
        found.map = where(pool.looks.small[drawn][some], flags, groups[some], folds=options.folds, rng=rng)


def evenly(labels: NDArray[np.int64], most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Places of at most so many images, in order, as evenly from the classes as these have them."""
    if len(labels) <= most:
        return np.arange(len(labels))
    order = rng.permutation(len(labels))
    turn = np.empty(len(labels), np.int64)
    for one in np.unique(labels):
        mine = order[labels[order] == one]
        turn[mine] = np.arange(len(mine))
    chosen: NDArray[np.int64] = np.sort(order[np.argsort(turn[order], kind="stable")][:most])
    return chosen


def unmeasured(found: Findings) -> list[str]:
    """The issues that were not looked for."""
    return [kind for kind in SHARES if kind not in found.shares]
