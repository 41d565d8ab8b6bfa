"""Plugin files that a recipe names: they run only where that is allowed, and a changed one is named."""

from __future__ import annotations

import hashlib
import json
import sys

import pytest
import yaml

from tests.cli.conftest import Cli
from transferkit.api import resume, run
from transferkit.cli import app
from transferkit.errors import InputError, Interrupted
from transferkit.recipe import load_recipe

CODE = '''
from dataclasses import dataclass
import transferkit

@dataclass
class Mean:
    """Features near zero."""
    power: int = 2

    def penalty(self, features):
        return features.abs().pow(self.power).mean()

@dataclass
class Stop:
    """A signal at the second step."""

    def step_end(self, session, step):
        import os, signal
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

@transferkit.hookimpl
def transferkit_register(register):
    register.regularizer("mean", Mean)
    register.observer("stop", Stop)
'''


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A recipe with one plugin file in a folder below it; no file is allowed."""
    monkeypatch.delenv("TRANSFERKIT_ALLOW_LOCAL_PLUGINS", raising=False)
    modules, paths = set(sys.modules), list(sys.path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "my_mean.py").write_text(CODE)
    content = {
        "name": "local", "device": "cpu", "plugins": ["mine/my_mean.py"],
        "model": {"name": "test_resnet", "preprocessing": {"input_size": 32}},
        "datasets": {"w": {"world": {"kind": "target", "train": 4, "val": 2, "size": 32}}},
        "stages": [{
            "name": "s", "start": "scratch", "dataset": "w", "epochs": 1, "batch_size": 4, "workers": 0,
            "regularizers": [{"use": "mean", "weight": 0.1}],
        }],
    }  # fmt: skip
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    yield path
    sys.path[:] = paths
    for name in set(sys.modules) - modules:
        if getattr(sys.modules[name], "__plugin_file__", None):
            del sys.modules[name]


def change(recipe, **keys):
    recipe.write_text(yaml.safe_dump(yaml.safe_load(recipe.read_text()) | keys, sort_keys=False))


def test_it_is_refused_by_its_hash_and_nothing_of_it_runs(recipe):
    file = recipe.parent / "mine" / "my_mean.py"
    file.write_text(f"open({str(recipe.parent / 'ran')!r}, 'w')\n" + CODE)
    with pytest.raises(InputError) as refused:
        load_recipe(recipe)
    assert hashlib.sha256(file.read_bytes()).hexdigest() in str(refused.value)
    assert "--allow-plugins" in str(refused.value) and "r.yaml:4:3" in str(refused.value)
    assert not (recipe.parent / "ran").exists()
    load_recipe(recipe, allow_plugins=True)
    assert (recipe.parent / "ran").exists()


def test_the_variable_allows_it_and_options_are_checked(recipe, monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_ALLOW_LOCAL_PLUGINS", "1")
    assert load_recipe(recipe).recipe.plugins == [str(recipe.parent / "mine" / "my_mean.py")]
    with pytest.raises(InputError, match='did you mean "power"'):
        load_recipe(recipe, ["stages.s.regularizers.mean.powr=1"])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../outside.py", "outside the folder of the recipe"),
        ("mine/my_maen.py", 'did you mean "my_mean.py"'),
        ("mine/my-mean.py", "called like a Python module"),
        ("json.py", "would hide the module json"),
        ("broken.py", "the plugin file broken.py failed: SyntaxError"),
        ("exits.py", "the plugin file exits.py failed: SystemExit"),
        ("empty.py", "offers nothing"),
    ],
)
def test_what_cannot_be_a_plugin_file(recipe, tmp_path, name, words):
    inner = tmp_path / "inner"
    inner.mkdir()
    recipe = recipe.rename(inner / "r.yaml")
    (tmp_path / "mine").rename(inner / "mine")
    (inner / "mine" / "my-mean.py").write_text(CODE)
    (tmp_path / "outside.py").write_text(CODE)
    (inner / "json.py").write_text(CODE)
    (inner / "broken.py").write_text("def (")
    (inner / "exits.py").write_text("import sys; sys.exit(3)")
    (inner / "empty.py").write_text("x = 1")
    change(recipe, plugins=[name])
    with pytest.raises(InputError) as refused:
        load_recipe(recipe, allow_plugins=True)
    assert words in str(refused.value)


def test_a_link_out_of_the_folder_is_seen_through(recipe, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "real.py"
    elsewhere.write_text(CODE)
    (recipe.parent / "linked.py").symlink_to(elsewhere)
    change(recipe, plugins=["linked.py"])
    with pytest.raises(InputError, match="outside the folder"):
        load_recipe(recipe, allow_plugins=True)
    named = load_recipe(recipe, [f"plugins=[{elsewhere}]"], allow_plugins=True)  # by whoever starts it
    assert named.recipe.plugins == [str(elsewhere)]


def test_through_extends_it_is_relative_to_the_file_that_names_it(recipe):
    (recipe.parent / "below").mkdir()
    child = recipe.parent / "below" / "child.yaml"
    child.write_text("extends: ../r.yaml\nname: child\n")
    assert load_recipe(child, allow_plugins=True).recipe.plugins == [str(recipe.parent / "mine" / "my_mean.py")]


def test_a_run_keeps_the_file_and_resume_names_a_changed_one(recipe, tmp_path):
    content = yaml.safe_load(recipe.read_text())
    content["stages"][0]["observers"] = [{"use": "stop"}]
    recipe.write_text(yaml.safe_dump(content))
    with pytest.raises(Interrupted) as stopped:
        run(recipe, out=tmp_path / "runs", quiet=True, allow_plugins=True)
    (folder,) = (tmp_path / "runs" / "local").iterdir()
    assert stopped.value.__notes__ == [f'go on with: transferkit.resume("{folder}", allow_plugins=True)']
    file = recipe.parent / "mine" / "my_mean.py"
    assert (folder / "plugins" / "my_mean.py").read_bytes() == file.read_bytes()

    with pytest.raises(InputError, match="SHA-256"):
        resume(folder, quiet=True)
    file.write_text(CODE.replace("power: int = 2", "power: int = 1"))
    with pytest.raises(InputError, match=r"mean was file my_mean\.py .* and is file my_mean\.py"):
        resume(folder, quiet=True, allow_plugins=True)
    file.unlink()
    with pytest.raises(InputError, match=r"the run keeps a copy: plugins=\["):
        resume(folder, quiet=True, allow_plugins=True)
    again = {"plugins": [str(folder / "plugins" / "my_mean.py")]}
    assert resume(folder, quiet=True, allow_plugins=True, **again).status == "done"


def test_an_error_in_it_carries_the_file(recipe, tmp_path):
    file = recipe.parent / "mine" / "my_mean.py"
    file.write_text(CODE.replace("return features", "1 / 0; return features"))
    with pytest.raises(ZeroDivisionError) as caught:
        run(recipe, out=tmp_path / "runs", quiet=True, allow_plugins=True)
    assert any("in penalty of the regularizer 'mean' (file my_mean.py" in note for note in caught.value.__notes__)


def test_plan_says_so(recipe):
    cli = Cli(app)
    planned = cli("plan", recipe, "--allow-plugins", "--json")
    sha = hashlib.sha256((recipe.parent / "mine" / "my_mean.py").read_bytes()).hexdigest()
    assert list(json.loads(planned.stdout)["plugin_files"].values()) == [sha]
    assert sha in cli("plan", recipe, "--allow-plugins").stdout
