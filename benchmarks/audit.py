"""What retention, lingering, bias and detector scores cost together, in forward passes of the fine-tuned model.

    python benchmarks/audit.py [--images 200] [--rounds 5] [--model resnet18]

Drawn images on disk as JPEG, a model with random weights, one thread, rounds interleaved, medians of CPU time. The
pass is timm's model in a plain loop over the same files with the same preprocessing. M^s's own passes (the recall
ceiling, prevalence) are made before: they are other forward passes.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from transferkit.analysis.cache import Cache
from transferkit.analysis.perform import perform_all
from transferkit.analysis.session import AnalysisSession
from transferkit.analysis.workbench import Given, Workbench
from transferkit.hooks import Plugin
from transferkit.model import TransferModel, build
from transferkit.recipe.schema import Dataset, Model
from transferkit.registry import installed
from transferkit.training.progress import Display


def images(folder: Path, count: int, classes: list[str]) -> None:
    rng = np.random.default_rng(0)
    for index in range(count):
        place = folder / classes[index % len(classes)]
        place.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(rng.integers(0, 255, (16, 16, 3)).astype(np.uint8))
        small.resize((256, 256), Image.Resampling.BICUBIC).save(place / f"{index}.jpg", quality=90)


def models(name: str, classes: list[str]) -> dict[str, TransferModel]:
    torch.manual_seed(0)
    source, _ = build(Model(name=name), weights="scratch", source_classes=classes, classes=None)
    target, _ = build(Model(name=name), weights="scratch", source_classes=classes, classes=["a", "b"])
    target.net.load_state_dict({**source.net.state_dict(), **head(target)})
    return {"source": source.eval(), "target": target.eval()}


def head(model: TransferModel) -> dict[str, torch.Tensor]:
    names = dict(model.named_head_parameters())
    return {name: value for name, value in model.net.state_dict().items() if name in names}


def bench(folder: Path, found: dict[str, TransferModel], cache: Cache) -> Workbench:
    return Workbench(
        models={role: Given(role, lambda model=model: (model, None)) for role, model in found.items()},
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
    from transferkit_lingering import memories

    lingering = torch.from_numpy(memories(session).lingering)
    for _, logits in session.predictions("target").chunks(session.source_head()):
        interference_score(logits, lingering, "sum")


def everything(workbench: Workbench, out: Path) -> None:
    plugins = []
    for name in ("retention", "lingering", "bias"):
        component = installed().get("analyzer", name)
        plugins.append(Plugin("analyzer", name, component.create({}), component))
    failed = perform_all(workbench, plugins, lambda name: out / name, parameters={}, done=lambda name, report: None)
    assert not failed, failed
    detector(AnalysisSession(workbench, out, peers={}))


def seconds(work: Callable[[], None]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="resnet18")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    classes = [f"c{index:04d}" for index in range(arguments.classes)]
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        images(root / "source", arguments.images, classes)
        images(root / "target" / "train", 40, ["a", "b"])
        found = models(arguments.model, classes)
        passes, audits = [], []
        for number in range(arguments.rounds):
            workbench = bench(root, found, Cache(root / f"cache{number}"))
            session = AnalysisSession(workbench, root / f"out{number}")
            session.predictions("source", "source")
            session.predictions("source", "target")
            # the same backbone would be the same pass: move one weight
            with torch.no_grad():
                next(found["target"].net.parameters()).mul_(1 + 1e-6)
            passes.append(seconds(lambda s=session: plain(s)))
            audits.append(seconds(lambda w=workbench, o=root / f"out{number}": everything(w, o)))
        ratio = statistics.median(a / p for a, p in zip(audits, passes, strict=True))
        print(f"{arguments.model}, {arguments.images} images: pass {statistics.median(passes):.1f} s, audit ", end="")
        print(f"{statistics.median(audits):.1f} s of CPU; ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
