"""The packages about source memories: cheap to import, registered, described by a card, sound on real images."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest
import torch

from transferkit.hookspecs import Declared
from transferkit.plugins.hooks import check_signatures
from transferkit.plugins.registry import installed
from transferkit.report import Report

FUNCTIONS = {
    "bias": ["bias", "bias_histogram", "bias_index"],
    "interference": ["conformal_threshold", "interference_score", "memory_score", "refitted_head"],
    "lingering": ["lingering", "prevalence", "source_only"],
    "retention": ["recall", "recall_histogram"],
}
ANALYZERS = {"retention": 10, "lingering": 20, "bias": 30, "interference": 60}
"""With their place in the standard audit."""
HEADINGS = ("Claim", "Equation", "Cost", "Limits", "Function", "Source")
PROMISED = {
    "retention": {"top1_source", "top1_head_swap", "relative_retention"},
    "lingering": {"source_only", "lingering", "unknown"},
    "bias": {"high", "slight", "neutral", "high_and_source_only"},
    "interference": {
        "detect_p",
        "false_alarm_rate",
        "auroc_presence",
        "fpr95_presence",
        "aurc_harm",
        "specificity",
    },
}


def card(name):
    return Path(import_module(f"transferkit_{name}").__file__).with_name("README.md").read_text(encoding="utf-8")


def test_importing_packages_and_options_does_not_import_torch():
    code = (
        "import sys\n"
        f"for name in {list(FUNCTIONS)}: __import__('transferkit_' + name)\n"
        "from transferkit.plugins.registry import installed\n"
        f"for name in {list(ANALYZERS)}: installed().get('analyzer', name).options.model_json_schema()\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_come_from_the_package(name):
    package = import_module(f"transferkit_{name}")
    assert package.__all__ == FUNCTIONS[name]
    for module in Path(package.__file__).parent.glob("[a-z]*.py"):
        import_module(f"transferkit_{name}.{module.stem}")  # a module of a function's name would hide the function
    assert all(callable(getattr(package, function)) for function in FUNCTIONS[name])
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        package.nothing  # noqa: B018


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_package_has_a_card_with_all_headings(name):
    assert all(f"**{heading}" in card(name) for heading in HEADINGS)
    assert all(f"{function}(" in card(name) for function in FUNCTIONS[name])


@pytest.mark.parametrize("name", ANALYZERS)
def test_registered_with_options_and_metrics_on_the_card(name):
    component = installed().get("analyzer", name)
    check_signatures(component.cls)
    assert component.hooks == ["analyze"]
    assert component.cls.standard_audit == ANALYZERS[name]
    assert PROMISED[name] <= set(Declared.of(component.cls).metric_keys)
    component.create({})  # every option has a default
    for option, info in component.options.model_fields.items():
        assert info.description, option
        assert f"`{option}`" in card(name), option
    for metric in PROMISED[name]:
        assert f"`{metric}`" in card(name), metric


@pytest.mark.real_data
def test_real_models_and_images(real_data, tmp_path):
    """MobileNetV2 against itself: knows its classes, loses nothing, and sees ants and bees in the target images."""
    session = real_session(real_data, tmp_path)
    reports: dict[str, Report] = {}
    for name in ("retention", "lingering", "bias"):
        reports[name] = installed().get("analyzer", name).create({}).analyze(session)
    retention = reports["retention"].metrics
    assert retention["top1_source"] > 0.6
    assert retention["relative_retention"] == 1.0
    rows = {row[1]: row for row in reports["lingering"].tables["lingering"].rows}
    assert len(rows) == 1000
    assert rows["ant, emmet, pismire"][2] >= 4 and rows["bee"][2] >= 4  # of 12 target images
    assert rows["tench, Tinca tinca"][6] == "uncertain"
    assert rows["espresso"][6] == "unknown"
    assert sum(row[2] for row in rows.values()) == 12 * 5
    assert len(reports["bias"].tables["bias"].rows) == 1000


def real_session(real_data, folder):
    from transferkit.analysis.session import AnalysisSession
    from transferkit.analysis.workbench import Given, Workbench
    from transferkit.model import build
    from transferkit.recipe import schema
    from transferkit.training.cache import Cache
    from transferkit.training.progress import Display

    for wnid in ("n01440764", "n01514668", "n01530575"):  # tench, cock, brambling
        for path in sorted((real_data / "imagenet" / wnid).glob("mini_*.jpg"))[:4]:
            place = folder / "source" / wnid / path.name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
    for kind in ("ants", "bees"):
        for path in sorted((real_data / "hymenoptera" / "val" / kind).glob("*.jpg"))[:6]:
            place = folder / "target" / "train" / kind / path.name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
    half = [0.5, 0.5, 0.5]
    spec = {"name": "mobilenetv2_100", "options": {"pad_type": "same"}, "preprocessing": {"mean": half, "std": half}}
    weights = real_data / "weights" / "mobilenetv2_100_imagenet1k.safetensors"
    opened = partial(build, schema.Model.model_validate(spec), weights=weights, source_classes=None)
    labels = str(real_data / "imagenet_classes.csv")
    datasets = {
        "source": schema.Dataset.model_validate({"folder": str(folder / "source"), "labels": labels}),
        "target": schema.Dataset.model_validate({"folder": str(folder / "target")}),
    }
    workbench = Workbench(
        models={
            "source": Given("source", partial(opened, classes=None)),
            "target": Given("target", partial(opened, classes=["ants", "bees"])),
        },
        datasets=datasets,
        source_data="source",
        target_data="target",
        seed=0,
        display=Display(quiet=True),
        device=torch.device("cpu"),
        cache=Cache(),
    )
    return AnalysisSession(workbench, folder)
