"""The analyzer `spurious` on models whose columns are known, on images, and in a run."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transferkit_spurious.measure import subjects
from transferkit_spurious.options import Options

from transferkit.analysis.session import AnalysisSession
from transferkit.analysis.workbench import Given, Workbench
from transferkit.errors import InputError
from transferkit.hookspecs import Declared
from transferkit.model import build
from transferkit.plugins.hooks import check_signatures
from transferkit.plugins.registry import installed
from transferkit.recipe import schema
from transferkit.testing.tiny import tiny_analysis, tiny_model
from transferkit.training.cache import Cache
from transferkit.training.progress import Display

BLOCKS = {"spurious": (0, 4), "shared": (4, 6), "target": (6, 10)}


def linear_model(slope):
    """A model whose answer is rows @ slope: hidden units x and -x, then ReLU and a head that puts them together."""
    options = {"in_chans": 1, "img_size": [1, 10], "hidden": [20]}
    model, head = build(
        schema.Model.model_validate({"name": "transferkit_mlp", "options": options}),
        weights="scratch",
        source_classes=None,
        classes=["y"],
    )
    with torch.no_grad():
        linear = model.net.layers[0].linear
        linear.weight.copy_(torch.cat([torch.eye(10), -torch.eye(10)]))
        linear.bias.zero_()
        both = torch.tensor([*slope, *(-value for value in slope)], dtype=torch.float32)
        model.head.weight.copy_(both[None])
        model.head.bias.zero_()
    return model, head


def slopes(spurious):
    return [spurious] * 4 + [0.2] * 6


def session(folder, **models) -> AnalysisSession:
    common = {"features": 10, "train": 400, "val": 150}
    datasets = {
        "source": {"synthetic": {"task": "source", **common}},
        "target": {"synthetic": {"task": "target", "permuted": 4, **common}},
        "plain": {"synthetic": {"task": "target", **common}},
        "other": {"synthetic": {"task": "target", **common, "seed": 1}},
    }
    roles = {"target": slopes(0.3), "baseline": slopes(0.1), "source": [0.3] * 6 + [0.0] * 4} | models
    workbench = Workbench(
        models={role: Given(f"made-up {role}", partial(linear_model, slope)) for role, slope in roles.items() if slope},
        datasets={name: schema.Dataset.model_validate(spec) for name, spec in datasets.items()},
        source_data="source",
        target_data="target",
        seed=0,
        display=Display(quiet=True),
        device=torch.device("cpu"),
        cache=Cache(),
    )
    return AnalysisSession(workbench, folder)


def analyze(given, **options):
    analyzer = installed().get("analyzer", "spurious")
    made = analyzer.create({"instances": 3, "samples": 100} | options)
    report = made.analyze(given)
    assert set(report.metrics) == set(Declared.of(analyzer.cls).metric_keys)
    assert all((given.out / figure).is_file() for figure in report.figures) and set(report.captions) == {
        *report.figures
    }
    return report


def test_tables_on_models_whose_slopes_are_known(tmp_path):
    given = session(tmp_path)
    report = analyze(given, blocks=BLOCKS, restored="plain")
    numbers = report.metrics
    val, train = given.samples("target", "val"), given.samples("target", "train")
    sd, y = train.rows.std(axis=0), val.labels
    answers = val.rows @ np.array(slopes(0.3))
    assert numbers["loss"] == pytest.approx(((answers - y) ** 2).mean(), rel=1e-4)
    jump = 0.3 * sd[:4].sum()
    assert numbers["moved_shift"] == pytest.approx(jump, rel=1e-4)
    change = ((answers + jump - y) ** 2 - (answers - y) ** 2).mean()
    assert numbers["change_shift"] == pytest.approx(change, rel=1e-4)
    assert numbers["excess_shift"] == pytest.approx(0.2 * sd[:4].sum(), rel=1e-4)
    assert numbers["lime_suspect"] == pytest.approx((0.3 * sd[:4]).mean(), rel=1e-4)
    assert numbers["lime_suspect_excess"] == pytest.approx((0.2 * sd[:4]).mean(), rel=1e-4)
    share = 0.3 * sd[:4].sum() / (0.3 * sd[:4].sum() + 0.2 * sd[4:].sum())
    assert numbers["lime_suspect_share"] == pytest.approx(share, rel=1e-4)
    plain = given.samples("plain", "val").rows @ np.array(slopes(0.3))
    assert numbers["loss_restored"] == pytest.approx(((plain - y) ** 2).mean(), rel=1e-4)
    assert math.isnan(numbers["patch_change_max"])
    assert "target answers to it more than the baseline" in report.verdict
    assert "changes nothing in law" in report.notes[0]


def test_the_source_gets_rows_of_its_own_task(tmp_path):
    given = session(tmp_path)
    report = analyze(given, blocks=BLOCKS)
    own = given.samples("source", role="source")
    rows = {tuple(row[:3]): row for row in report.tables["interventions"].rows}
    loss = ((own.rows @ np.array([0.3] * 6 + [0.0] * 4) - own.labels) ** 2).mean()
    assert rows["source", "spurious", "shift"][3] == pytest.approx(loss, rel=1e-4)
    assert rows["source", "target", "shift"][7] == pytest.approx(0, abs=1e-6)
    assert any('rows of "source"' in note for note in report.notes)
    lime_rows = {tuple(row[:2]): row[2] for row in report.tables["lime"].rows}
    assert lime_rows["source", "target"] == pytest.approx(0, abs=1e-6)
    assert len(report.tables["lime_columns"].rows) == 10


def test_without_source_data_and_baseline(tmp_path):
    given = session(tmp_path, baseline=None)
    given.workbench.data["source"] = None
    report = analyze(given, blocks=BLOCKS, instances=0)
    rows = {tuple(row[:3]): row for row in report.tables["interventions"].rows}
    assert math.isnan(rows["source", "spurious", "shift"][3]), "the target's outputs say nothing about the source model"
    assert "no baseline" in report.gaps[0]
    assert math.isnan(report.metrics["excess_shift"]) and math.isnan(report.metrics["lime_suspect"])
    assert report.figures == ["moved.svg"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, r"the block spurious is \[0, 20\), but the columns are 0 to 9"),
        ({"blocks": BLOCKS, "suspect": "nothing"}, 'suspect "nothing" is none of the blocks spurious, shared, target'),
        ({"blocks": {"spurious": (3, 3)}}, r"the block spurious is \[3, 3\)"),
        ({"blocks": BLOCKS, "restored": "other"}, 'restored "other" must hold the rows of "target"'),
    ],
)
def test_what_cannot_be_probed_is_refused(options, expected, tmp_path):
    with pytest.raises(InputError, match=expected):
        analyze(session(tmp_path), **options)


def test_the_same_twice(tmp_path):
    one, two = (analyze(session(tmp_path / name), blocks=BLOCKS, rows=60) for name in "ab")
    assert one.metrics == pytest.approx(two.metrics, nan_ok=True)
    assert "60 rows" in one.notes[1]


def test_images(tmp_path):
    given = tiny_analysis(tmp_path)
    report = analyze(given, images=4, grid=2, region=(0, 0, 0.5, 0.5))
    samples = given.samples("target", "val")
    images, labels = samples.batch(np.arange(4), np.zeros(4, int))
    model = given.model("target")

    def answers(pixels):
        with torch.no_grad():
            return torch.nn.functional.cross_entropy(model(pixels).logits, labels, reduction="none").double()

    side = images.shape[2] // 2
    changed = images.clone()
    changed[:, :, :side, :side] = 0
    before, after = answers(images), answers(changed)
    assert report.metrics["loss"] == pytest.approx(float(before.mean()), rel=1e-5)
    assert report.metrics["change_occlude"] == pytest.approx(float((after - before).mean()), rel=1e-3, abs=1e-7)
    first = next(row for row in report.tables["patches"].rows if row[:3] == ["target", 0, 0])
    assert first[3] == pytest.approx(report.metrics["change_occlude"], rel=1e-6)
    moved = ((-after).exp() - (-before).exp()).abs().mean()
    assert report.metrics["moved_occlude"] == pytest.approx(float(moved), rel=1e-3, abs=1e-7)
    assert len(report.tables["patches"].rows) == 8 and not math.isnan(report.metrics["excess_shift"])
    assert report.figures == ["patches-0.svg", "patches-1.svg"]
    assert "Of 4 patches" in report.verdict


def test_in_a_run_with_further_stages(tmp_path):
    from transferkit.api import execute
    from transferkit.recipe import load_recipe

    common = "loss: {name: mse}, epochs: 1, batch_size: 32, workers: 0"
    (tmp_path / "r.yaml").write_text(f"""\
name: small
device: cpu
model: {{name: transferkit_mlp, options: {{in_chans: 1, img_size: [1, 10], hidden: [8]}}}}
datasets:
  source: {{synthetic: {{task: source, features: 10, train: 64, val: 32}}}}
  target: {{synthetic: {{task: target, features: 10, train: 64, val: 32, permuted: 4}}}}
stages:
  - {{name: source, start: scratch, dataset: source, {common}}}
  - {{name: tuned, start: source, dataset: target, {common}}}
  - {{name: other, start: source, dataset: target, {common}}}
  - {{name: fresh, start: scratch, dataset: target, {common}}}
analyses:
  - use: spurious
    stage: tuned
    baseline: fresh
    dataset: source
    stages: [other]
    blocks: {{spurious: [0, 4], shared: [4, 6], target: [6, 10]}}
    instances: 2
    samples: 50
""")
    result = execute(load_recipe(tmp_path / "r.yaml"), out=tmp_path / "runs", quiet=True)
    report = json.loads((result.run_dir / result.analyses["spurious"]).read_text())
    assert not report["gaps"]
    assert {row[0] for row in report["tables"]["interventions"]["rows"]} == {"target", "other", "baseline", "source"}
    assert {row[0] for row in report["tables"]["against_baseline"]["rows"]} == {"target", "other"}


def test_importing_package_and_options_does_not_import_torch():
    code = (
        "import sys, transferkit_spurious\n"
        "from transferkit.plugins.registry import installed\n"
        "installed().get('analyzer', 'spurious').options.model_json_schema()\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_registered_with_everything_on_the_card():
    package = import_module("transferkit_spurious")
    card = Path(package.__file__).with_name("README.md").read_text(encoding="utf-8")
    component = installed().get("analyzer", "spurious")
    check_signatures(component.cls)
    assert component.hooks == ["analyze"]
    for option, info in component.options.model_fields.items():
        assert info.description and f"| `{option}` |" in card, option
    assert all(f"**{word}" in card for word in ("Claim", "Equation", "Cost", "Limits", "Function", "Source"))
    assert package.__all__ == ["intervene", "lime"] and all(f"{name}(" in card for name in package.__all__)
    for module in Path(package.__file__).parent.glob("[a-z]*.py"):
        import_module(f"transferkit_spurious.{module.stem}")
    assert callable(package.lime) and callable(package.intervene)


def test_a_stage_called_like_a_role_is_a_subject_of_its_own():
    models = {name: tiny_model(["a", "b"], seed=seed) for seed, name in enumerate(("target", "source"))}
    session = SimpleNamespace(
        model=models.get, has=models.__contains__, device="cpu", stage_model=lambda name: tiny_model(["a", "b"], seed=9)
    )
    found = subjects(session, Options(stages=["source", "other"]), source=True)
    assert [(one.name, one.role) for one in found] == [
        *(("target", "target"), ("stage source", "stage"), ("other", "stage"), ("source", "source")),
    ]
