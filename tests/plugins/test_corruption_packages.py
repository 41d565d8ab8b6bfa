"""Both packages of corruptions: cheap to import, registered, described by a card."""

from __future__ import annotations

import pickle
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from transferkit.plugins.hooks import check_signatures
from transferkit.plugins.registry import installed

FUNCTIONS = {
    "correlated_patch": ["choose", "gate", "patch_colours", "shortcut_reliance"],
    "tennis_ball": ["attraction_rate", "draw_ball"],
}
HEADINGS = ("Claim", "Equation", "Cost", "Limits", "Function", "Source")


def test_importing_packages_and_options_does_not_import_torch():
    code = (
        "import sys\n"
        f"for name in {list(FUNCTIONS)}:\n"
        "    __import__('transferkit_' + name)\n"
        "    from transferkit.plugins.registry import installed\n"
        "    installed().get('corruption', name).options.model_json_schema()\n"
        "    installed().get('corruption', name).create({})\n"
        "assert not {'torch', 'numpy', 'PIL'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_registered_with_sound_hooks_and_options_on_the_card(name):
    component = installed().get("corruption", name)
    check_signatures(component.cls)
    assert component.hooks == ["select", "corrupt", "manifest"]
    card = Path(import_module(f"transferkit_{name}").__file__).with_name("README.md").read_text(encoding="utf-8")
    for option, info in component.options.model_fields.items():
        assert info.description, option
        assert f"| `{option}` |" in card, option
    assert all(f"**{heading}" in card for heading in HEADINGS)
    assert all(f"{function}(" in card for function in FUNCTIONS[name])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_come_from_the_package(name):
    package = import_module(f"transferkit_{name}")
    assert package.__all__ == FUNCTIONS[name]
    for module in Path(package.__file__).parent.glob("[a-z]*.py"):
        import_module(f"transferkit_{name}.{module.stem}")  # a module of a function's name would hide the function
    assert all(callable(getattr(package, function)) for function in FUNCTIONS[name])
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        package.nothing  # noqa: B018


@pytest.mark.parametrize("options", [{}, {"place": "random", "side": 3}])
def test_instances_go_to_worker_processes_that_do_not_fork(options):
    instance = installed().get("corruption", "correlated_patch").create(options)
    again = pickle.loads(pickle.dumps(instance))
    assert type(again) is type(instance) and again == instance
