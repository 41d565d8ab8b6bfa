"""A drawn world whose models have maps of several cells, for the tests of the analyzer `distraction`."""

from __future__ import annotations

from functools import partial
from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image
from transferkit_distraction.analyzer import Distraction
from transferkit_lingering.analyzer import Lingering

from transferkit.analysis.composites import Batches
from transferkit.analysis.session import AnalysisSession
from transferkit.analysis.workbench import Given, Workbench
from transferkit.data import world
from transferkit.recipe.schema import Dataset
from transferkit.testing import tiny_model
from transferkit.training.cache import Cache
from transferkit.training.progress import Display

SIZE = 32
OPTIONS = {"classes": 5, "composites": 4, "gallery": 3}
ROLES = ("target", "baseline")


def model(classes=world.TARGET_CLASSES, seed=0, **options):
    """Random weights, maps of 4 x 4 cells, and a bias that makes it say every class of its own pictures at times."""
    found = tiny_model(classes, seed=seed, output_stride=8, **options)
    kind = "source" if len(classes) == len(world.SOURCE_CLASSES) else "target"
    names = world.SOURCE_CLASSES if kind == "source" else world.TARGET_CLASSES
    pictures = [world.draw(kind, "val", name, index, SIZE) for name in names for index in range(2)]
    batch = Batches(found.preprocessing, torch.device("cpu"))(pictures)
    with torch.no_grad():
        found.head.bias -= found.eval()(batch).logits.mean(dim=0)
    return found


def session(folder, *, p_lo=0.0, cache=None, images=2, seed=0, **models):
    """A session in which every source-only class lingers (`p_lo` 0). `models` replace those of roles; None: no such."""
    roles = {
        "source": model(world.SOURCE_CLASSES),
        "target": model(seed=1),
        "baseline": model(seed=2),
    } | models
    head = roles["source"].source_head() if roles["source"] is not None else None
    bench = Workbench(
        models={
            role: Given(f"made-up {role}", partial(_given, each, head))
            for role, each in roles.items()
            if each is not None
        },
        datasets={
            "source": Dataset.model_validate({"world": {"kind": "source", "train": 2, "val": images, "size": SIZE}}),
            "target": Dataset.model_validate({"world": {"kind": "target", "train": 4, "val": 6, "size": SIZE}}),
        },
        source_data="source",
        target_data="target",
        seed=seed,
        display=Display(quiet=True),
        device=torch.device("cpu"),
        cache=cache if cache is not None else Cache(),
    )
    folder.mkdir(parents=True, exist_ok=True)
    return AnalysisSession(bench, folder, "distraction", {"lingering": Lingering(k=1, v_lo=3, p_lo=p_lo)})


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """(session, report) of one analysis that several tests of a module look at."""
    found = session(tmp_path_factory.mktemp("distraction"))
    return found, Distraction(**OPTIONS).analyze(found)


def _given(model, head):
    return model, head


def quick(found, **options):
    """The report of three classes, without pictures: they take most of the time."""
    with patch("transferkit_distraction.report.draw", lambda session, options, found: {}):
        return Distraction(**(OPTIONS | {"classes": 3} | options)).analyze(found)


# --- the definitions, from the manifest with plain models -----------------------------------------------------


def rows(report, table="distraction"):
    return [dict(zip(report.tables[table].columns, row, strict=True)) for row in report.tables[table].rows]


def composite(found, row, colour=None):
    """The picture of a row of the table, made from the manifest with PIL alone."""
    canvas = found.samples("source").picture(row["background"]).copy()
    if colour is not None:
        canvas = Image.new("RGB", canvas.size, colour)
    overlay = found.overlays().picture(row["overlay"])
    canvas.paste(overlay.resize((row["width"], row["height"]), Image.Resampling.BILINEAR), (row["left"], row["top"]))
    return np.asarray(canvas)


def normalised(picture):
    return (torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255 - 0.5) / 0.5


def margin(logits, number):
    return logits[number] - torch.cat([logits[:number], logits[number + 1 :]]).mean()


def gradcam(network, picture, number, score=lambda logits, number: logits[number], size=(SIZE, SIZE)):
    """The definition by autograd through the head: (H, W), upsampled to the canvas."""
    net = network.net
    with torch.enable_grad():
        maps = net.forward_features(normalised(picture)).detach().requires_grad_()
        (gradient,) = torch.autograd.grad(score(net.forward_head(maps)[0], number), maps)
    heat = (gradient.mean(dim=(2, 3), keepdim=True) * maps.detach()).sum(dim=1).relu()
    large = torch.nn.functional.interpolate(heat[None].double(), size, mode="bilinear", align_corners=False)
    return large[0, 0].float().numpy()


def says(found, role, picture):
    with torch.no_grad():
        return found.model(role)(normalised(picture)).logits
