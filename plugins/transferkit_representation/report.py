"""What the analyzer `representation` says: metrics, verdict, small print, tables and pictures put together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from transferkit.report import Report
from transferkit_representation import pictures, tables
from transferkit_representation.findings import (
    NAN,
    Probed,
    Rank,
    Similarity,
    mean_of,
    probes,
    ranks,
    similarity,
)
from transferkit_representation.measure import Looked, layers_of, look, main_data
from transferkit_representation.verdict import verdict

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit_representation.analyzer import Representation


@dataclass(frozen=True)
class Findings:
    """Everything the report is made from."""

    layers: dict[str, list[str]]
    """{role: its layers}"""
    main: Looked
    probed: list[Looked]
    corrupted: Looked | None
    similarity: Similarity | None
    ranks: list[Rank]
    probes: list[Probed]

    @property
    def compared(self) -> int:
        """Images that CKA is of."""
        return int(self.main.tensors["compared"])


def report(session: AnalysisSession, options: Representation) -> Report:
    """Everything `Representation.analyze` returns."""
    gaps: list[str] = []
    found = measure(session, options, gaps)
    gaps += _gaps(found, options)
    drawn = pictures.draw(session, found)
    return Report(
        metrics=metrics(found),
        tables=tables.tables(found),
        figures=list(drawn),
        captions=drawn,
        verdict=verdict(found),
        notes=notes(session, options, found),
        gaps=gaps,
    )


def measure(session: AnalysisSession, options: Representation, gaps: list[str]) -> Findings:
    """One pass per data set, both models side by side."""
    layers = layers_of(session, options.layers, gaps)
    name = main_data(session)
    main = look(session, options, name, layers, compare="source" in layers)
    names = list(dict.fromkeys(options.probe_data if options.probe_data is not None else [name]))
    seen = {name: main}
    for other in [*names, *([options.corrupted] if options.corrupted else [])]:
        if other not in seen:
            seen[other] = look(session, options, other, layers, compare=False)
    probed = [seen[other] for other in names]
    corrupted = seen[options.corrupted] if options.corrupted else None
    if corrupted is not None and corrupted not in probed:
        probed.append(corrupted)
    return Findings(
        layers=layers,
        main=main,
        probed=probed,
        corrupted=corrupted,
        similarity=similarity(main, layers),
        ranks=ranks(main, layers, options.tau),
        probes=[row for looked in probed for row in probes(looked, layers)],
    )


def metrics(found: Findings) -> dict[str, float]:
    """Every metric the analyzer declares."""
    diagonal = {} if found.similarity is None else found.similarity.diagonal
    known = [value for value in diagonal.values() if value == value]
    before = {row.layer: row for row in found.ranks if row.model == "before"}
    after = {row.layer: row for row in found.ranks if row.model == "after"}
    pairs = [(before[name], row) for name, row in after.items() if name in before]
    last = list(after)[-1]
    numbers = {
        "cka_diagonal": mean_of(known),
        "cka_diagonal_least": min(known, default=NAN),
        "cka_features": diagonal.get(last, NAN),
        "rank_ratio": mean_of(b.rank / a.rank if a.rank and b.rank is not None else NAN for a, b in pairs),
        "rank_at_ceiling": mean_of(float(row.at_ceiling) if row.rank is not None else NAN for row in found.ranks),
        "stable_rank_ratio": mean_of(b.stable / a.stable for a, b in pairs),
        "participation_ratio_ratio": mean_of(b.participation / a.participation for a, b in pairs),
        "participation_before": before[last].participation if last in before else NAN,
        "participation_after": after[last].participation,
    }
    plain = next((looked for looked in found.probed if looked is not found.corrupted), None)
    for prefix, looked in (("probe", plain), ("probe_corrupted", found.corrupted)):
        data = None if looked is None else looked.data
        row = next((row for row in found.probes if row.data == data and row.layer == last), None)
        numbers[f"{prefix}_before"] = row.before if row else NAN
        numbers[f"{prefix}_after"] = row.after if row else NAN
        numbers[f"{prefix}_change"] = row.change[0] if row else NAN
    return numbers


def _gaps(found: Findings, options: Representation) -> list[str]:
    lines = []
    if "source" not in found.layers:
        lines.append(
            "There is no model from before (the stage started from scratch), so layers are not compared: ranks and "
            "probes are of the trained model alone. Name a stage as `source` to compare with it."
        )
    elif found.layers["source"] != found.layers["target"]:
        lines.append("The two models have different layers: only those of the same name are compared with each other.")
    if "source" in found.layers and found.similarity is None:
        lines.append(f"CKA needs at least 4 images; {found.main.data} has {found.main.available}.")
    if found.similarity is not None:
        lines += [f"No CKA for {layer}: {why}." for layer, why in found.similarity.reasons.items()]
    lines += [
        f"No rank and no probe for {row.layer} {row.model}: its outputs are not finite."
        for row in found.ranks
        if row.rank is None
    ]
    for looked in found.probed:
        if bool((looked.tensors["correct.target.0"] < 0).all()) and bool(
            found.main.tensors["spectrum.target.0"].isfinite().all()
        ):
            lines.append(
                f"No probes on {looked.data}: they need two classes "
                f"and more than one image (it has {len(looked.labels)})."
            )
    if found.corrupted is not None and not found.corrupted.planted:
        lines.append(
            f'"{found.corrupted.data}" has no planted corruption in its {found.corrupted.split} split: its probes '
            "learned plain images."
        )
    return lines


def notes(session: AnalysisSession, options: Representation, found: Findings) -> list[str]:
    """Counts, estimator, thresholds, what the probes are, preprocessing."""
    main = found.main
    both = "; the same in the same order for both models, each with its own preprocessing" * ("source" in found.layers)
    lines = [
        f"{len(main.labels)} of {main.available} images of {main.data} ({main.split}), drawn by seed {session.seed}"
        f"{both}, without augmentation."
    ]
    if found.similarity is not None:
        lines.append(_about_cka(options, found))
    lines.append(_about_rank(options, found))
    if found.ranks and all(row.at_ceiling for row in found.ranks if row.rank is not None):
        lines.append(
            "The numerical rank is at its ceiling everywhere, so it says nothing here: see the participation ratio "
            "and the stable rank, which need no threshold."
        )
    if found.probes:
        lines.append(
            f"Probes: ridge regression on standardised features, {options.folds} folds; every answer is by a probe "
            "that has not seen the image, with a lambda of 1e-4 to 1e4 that the other folds chose. Chance: the most "
            "frequent class. Change: after less before, 95 % interval over images, not over trainings."
        )
    if main.planted:
        lines.append(f"The images of {main.data} carry a planted corruption.")
    return lines


def _about_cka(options: Representation, found: Findings) -> str:
    if options.estimator == "unbiased-minibatch":
        return (
            f"CKA: linear, on whole outputs, unbiased HSIC averaged over batches of {options.batch_size} before the "
            f"ratio is taken; {found.compared} images in full batches. It may lie slightly outside 0..1."
        )
    passes = int(found.main.tensors["passes"])
    more = f" in {passes} passes" if passes > 1 else ""
    bias = "; the biased one is above 0 for unrelated layers" if options.estimator == "biased" else ""
    return f"CKA: linear, on whole outputs, {options.estimator} HSIC of {found.compared} images at once{more}{bias}."


def _about_rank(options: Representation, found: Findings) -> str:
    views = {
        "gap": "the mean over positions",
        "flatten": "all positions, averaged to at most 8192 values",
        "tokens": "every position as a row of its own (probes: answers averaged over positions)",
    }
    return (
        f"Rank and probes look at {views[options.view]}. Numerical rank: singular values of the centred rows above "
        f"{options.tau:g} times the largest, at most min(n - 1, d). Participation ratio: (Σλ)²/Σλ² of the covariance."
    )
