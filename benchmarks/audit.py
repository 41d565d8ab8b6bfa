"""What retention, lingering, bias and detector scores cost together, in forward passes of the fine-tuned model.

    python benchmarks/audit.py [rounds] [--images 200] [--model resnet18]

Drawn images on disk as JPEG, a model with random weights, one thread, rounds interleaved, medians of CPU time. The
pass is timm's model in a plain loop over the same files with the same preprocessing. M^s's own passes (the recall
ceiling, prevalence) are made before: they are other forward passes.
"""

from __future__ import annotations

import statistics
import tempfile
from functools import partial
from pathlib import Path

import torch
from corruption import drawn_folder
from interleaved import milliseconds, options, ratio

from transferkit.analysis.run_analyzers import Analysis, run_analyzers
from transferkit.analysis.session import AnalysisSession
from transferkit.analysis.workbench import Given, Workbench
from transferkit.model import TransferModel, build
from transferkit.plugins.hooks import Plugin
from transferkit.plugins.registry import installed
from transferkit.recipe.schema import Dataset, Model
from transferkit.training.cache import Cache
from transferkit.training.progress import Display


def models(name: str, classes: list[str]) -> dict[str, TransferModel]:
    torch.manual_seed(0)
    source, _ = build(Model(name=name), weights="scratch", source_classes=classes, classes=None)
    target, _ = build(Model(name=name), weights="scratch", source_classes=classes, classes=["a", "b"])
    target.net.load_state_dict({**source.net.state_dict(), **head(target)})
    return {"source": source.eval(), "target": target.eval()}


def head(model: TransferModel) -> dict[str, torch.Tensor]:
    names = dict(model.named_head_parameters())
    return {name: value for name, value in model.net.state_dict().items() if name in names}


def opened(model: TransferModel) -> tuple[TransferModel, None]:
    return model, None


def bench(folder: Path, found: dict[str, TransferModel], cache: Cache) -> Workbench:
    return Workbench(
        models={role: Given(role, partial(opened, model)) for role, model in found.items()},
        datasets={name: Dataset(folder=str(folder / name)) for name in ("source", "target")},
        source_data="source",
        target_data="target",
        seed=0,
        display=Display(quiet=True),
        device=torch.device("cpu"),
        cache=cache,
    )


@torch.no_grad()
def plain(session: AnalysisSession, batch_size: int = 32) -> None:
    """timm's own model over the same files."""
    samples, net = session.samples("source"), session.model("target").net.to(memory_format=torch.contiguous_format)
    for start in range(0, len(samples), batch_size):
        rows = range(start, min(start + batch_size, len(samples)))
        net(torch.stack([samples.get(i, 0)[0] for i in rows]))


def detector(session: AnalysisSession) -> None:
    from transferkit_interference import interference_score

    from transferkit.analysis import memories

    lingering = torch.from_numpy(memories(session).lingering)
    for _, logits in session.predictions("target").chunks(session.source_head()):
        interference_score(logits, lingering, "sum")


def everything(workbench: Workbench, out: Path) -> None:
    components = {name: installed().get("analyzer", name) for name in ("retention", "lingering", "bias")}
    plugins = [Plugin("analyzer", name, one.create({}), one) for name, one in components.items()]
    peers = {plugin.name: plugin.instance for plugin in plugins}
    wanted = [(one, partial(Analysis, workbench, one, out / one.name, {}, peers)) for one in plugins]
    failed = run_analyzers(wanted, workbench.display, lambda name, report: None)
    assert not failed, failed
    detector(AnalysisSession(workbench, out, peers={}))


def main() -> None:
    parser = options(__doc__, 3)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--model", default="resnet18")
    given = parser.parse_args()
    classes = [f"c{index:04d}" for index in range(given.classes)]
    times: dict[str, list[float]] = {"pass": [], "audit": []}
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        drawn_folder(root / "source", given.images, classes)
        drawn_folder(root / "target" / "train", 40, ["a", "b"])
        found = models(given.model, classes)
        for number in range(given.rounds):
            workbench, out = bench(root, found, Cache(root / f"cache{number}")), root / f"out{number}"
            session = AnalysisSession(workbench, out)
            session.predictions("source", "source")
            session.predictions("source", "target")
            # the same backbone would be the same pass: move one weight
            with torch.no_grad():
                next(found["target"].net.parameters()).mul_(1 + 1e-6)
            times["pass"].append(milliseconds(partial(plain, session)))
            times["audit"].append(milliseconds(partial(everything, workbench, out)))
    one, all_of_it = (statistics.median(values) / 1e3 for values in times.values())
    print(f"{given.model}, {given.images} images: pass {one:.1f} s, audit {all_of_it:.1f} s of CPU; ", end="")
    print(f"ratio {ratio(times, 'audit', 'pass'):.3f}")


if __name__ == "__main__":
    main()
