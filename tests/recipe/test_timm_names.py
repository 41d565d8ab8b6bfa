"""Names of models and optimizers are judged without importing timm, and as timm itself would."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

CODE = """
import json, sys
from transferkit.recipe.timm_names import unknown_model, unknown_optimizer
names = json.load(sys.stdin)
refused = [name for name in names["models"] if unknown_model(name)]
refused += [name for name in names["optimizers"] if unknown_optimizer(name)]
assert "timm" not in sys.modules and "torch" not in sys.modules
print(json.dumps(refused))
"""


def refused(models=(), optimizers=()):
    names = json.dumps({"models": list(models), "optimizers": list(optimizers)})
    done = subprocess.run([sys.executable, "-c", CODE], input=names, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_every_name_that_timm_lists_is_known_and_wrong_ones_are_not():
    from timm import list_models
    from timm.optim import list_optimizers

    models = [*list_models()[::25], "resnet50.a1_in1k", "vit_base_patch16_224_in21k", "local-dir:x", "hf-hub:a/b"]
    wrong = ["resnet51", "resnet", "vitt", "transfer"]
    optimizers = [name for name in list_optimizers() if "flash" not in name and not name.startswith("bnb")]
    assert refused([*models, *wrong], [*optimizers, "AdamW", "adamww"]) == [*wrong, "adamww"]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (
            {"name": "resnet51"},
            r"r\.yaml:\d+:\d+  model\.name: timm has no model called .resnet51.\n    did you mean .resnet5",
        ),
        (
            {"name": "test_resnet"},
            r"stages\.s\.optimizer\.name: timm has no optimizer called .adamww.\n    did you mean .adamw.",
        ),
    ],
)
def test_a_recipe_with_a_wrong_name_is_refused_where_it_stands(tmp_path, edit, said):
    from transferkit.errors import InputError
    from transferkit.recipe import load_recipe

    stage = {"name": "s", "start": "scratch", "dataset": "d", "epochs": 1}
    if edit["name"] == "test_resnet":
        stage |= {"optimizer": {"name": "adamww", "lr": 0.1}}
    data = {"d": {"world": {"kind": "target", "train": 2, "val": 2}}}
    (tmp_path / "r.yaml").write_text(json.dumps({"name": "r", "model": edit, "datasets": data, "stages": [stage]}))
    with pytest.raises(InputError, match=said):
        load_recipe(tmp_path / "r.yaml")
