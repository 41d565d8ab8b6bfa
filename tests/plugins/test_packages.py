"""The packages of regularizers: cheap to import, registered under their names, described by a card."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from transferkit.plugins.hooks import check_signatures
from transferkit.plugins.registry import installed

FUNCTIONS = {
    "activation_l1": ["activation_l1"],
    "bss": ["bss"],
    "delta": ["attention_weights", "delta"],
    "ewc": ["diagonal_fisher", "ewc"],
    "l2": ["l2"],
    "l2_sp": ["l2_sp"],
    "unlearn_source": ["active_features", "source_features", "source_probability"],
}
HOOKS = {
    "activation_l1": ["taps", "penalty"],
    "bss": ["check", "taps", "penalty"],
    "delta": ["taps", "setup", "penalty"],
    "ewc": ["check", "setup", "anchors"],
    "l2": ["anchors"],
    "l2_sp": ["anchors"],
    "unlearn_source": ["check", "setup", "penalty", "epoch_end"],
}


def test_importing_packages_and_options_does_not_import_torch():
    code = (
        "import sys\n"
        f"import {', '.join(f'transferkit_{name}.penalty' for name in FUNCTIONS)}\n"
        "from transferkit.plugins.registry import installed\n"
        f"for name in {list(FUNCTIONS)}: installed().get('regularizer', name).options.model_json_schema()\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_registered_with_sound_hooks(name):
    component = installed().get("regularizer", name)
    check_signatures(component.cls)
    assert component.hooks == HOOKS[name]
    component.create({})  # every option has a default


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_come_from_the_package(name):
    package = import_module(f"transferkit_{name}")
    assert package.__all__ == FUNCTIONS[name]
    for function in FUNCTIONS[name]:
        assert callable(getattr(package, function))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        package.nothing  # noqa: B018


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_option_is_described_and_on_the_card(name):
    component = installed().get("regularizer", name)
    card = Path(import_module(f"transferkit_{name}").__file__).with_name("README.md").read_text(encoding="utf-8")
    for option, info in component.options.model_fields.items():
        assert info.description, option
        assert f"`{option}`" in card, option
