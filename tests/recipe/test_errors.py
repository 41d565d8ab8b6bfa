"""Broken recipes, each with the whole text it is refused with: place, sentence, what would help."""

from __future__ import annotations

import pytest

from .small_recipes import RECIPE, Remember, registry_of

ONE = "1 problem; nothing was started."

EDITS = {
    "typo in a key": (
        ("batch_size: 4", "batchsize: 4"),
        'recipe.yaml:12:5  stages.target.batchsize: there is no such key\n    did you mean "batch_size"?',
    ),
    "typo that is a synonym": (
        ("lr: 1e-3", "learning_rate: 1e-3"),
        'recipe.yaml:13:28  stages.target.optimizer.learning_rate: there is no such key\n    did you mean "lr"?',
    ),
    "key of another section": (
        ("batch_size: 4", "lr: 4"),
        "recipe.yaml:12:5  stages.target.lr: there is no such key\n"
        "    it belongs in optimizer: stages.target.optimizer.lr",
    ),
    "key of a stage": (
        ("model: {name: resnet18}", "model: {name: resnet18}\nepochs: 3"),
        "recipe.yaml:3:1  epochs: there is no such key\n    it belongs in stages: stages.NAME.epochs",
    ),
    "key two sections down": (
        ("model: {name: resnet18}", "model: {name: resnet18, input_size: 96}"),
        "recipe.yaml:2:25  model.input_size: there is no such key\n"
        "    it belongs in preprocessing: model.preprocessing.input_size",
    ),
    "typo in a section": (
        ("model: {name: resnet18}", "modle: {name: resnet18}"),
        'recipe.yaml:2:1  modle: there is no such key\n    did you mean "model"?',
    ),
    "missing section": (("model: {name: resnet18}", ""), "recipe.yaml:1:1  model: is missing"),
    "missing key": (
        ("  - {name: second, start: target, dataset: noisy,", "  - {name: second, start: target,"),
        "recipe.yaml:17:5  stages.second.dataset: is missing",
    ),
    "section that is a word": (
        ("model: {name: resnet18}", "model: resnet18"),
        'recipe.yaml:2:8  model: a mapping (key: value) is needed, not "resnet18"',
    ),
    "typo in a plugin's name": (
        ("use: spectral", "use: spectrl"),
        'recipe.yaml:16:15  stages.target.regularizers.spectrl.use: no regularizer called "spectrl"\n'
        '    did you mean "spectral"?   available: pull, remember, spectral',
    ),
    "unknown plugin": (
        ("use: spectral", "use: dropout"),
        'recipe.yaml:16:15  stages.target.regularizers.dropout.use: no regularizer called "dropout"\n'
        "    available: pull, remember, spectral",
    ),
    "plugin that is a word": (
        ("- {use: pull, weight: 0.01}", "- pull"),
        'recipe.yaml:15:9  stages.target.regularizers.0: a mapping (use: pull, …) is needed, not "pull"',
    ),
    "unknown option": (
        ("k: 2}", "kk: 2}"),
        'recipe.yaml:16:62  stages.target.regularizers.spectral.kk: spectral has no such option\n    did you mean "k"?',
    ),
    "option of another plugin": (
        ("k: 2}", "maps: x}"),
        "recipe.yaml:16:62  stages.target.regularizers.spectral.maps: spectral has no such option\n"
        '    "maps" belongs to remember',
    ),
    "option known by another word": (
        ("k: 2}", "eta: 2}"),
        "recipe.yaml:16:62  stages.target.regularizers.spectral.eta: spectral has no such option\n"
        '    did you mean "weight"?   available: k, name, on, scale, weight',
    ),
    "option out of range": (
        ("k: 2}", "k: 0}"),
        "recipe.yaml:16:65  stages.target.regularizers.spectral.k: must be at least 1, not 0",
    ),
    "option with true for a number": (
        ("k: 2}", "k: true}"),
        "recipe.yaml:16:65  stages.target.regularizers.spectral.k: a whole number is needed, not true\n    k: how many",
    ),
    "option that is not one of a few": (
        ("k: 2}", "scale: relativ}"),
        "recipe.yaml:16:69  stages.target.regularizers.spectral.scale: must be absolute or relative, "
        'not "relativ"\n    did you mean "relative"?',
    ),
    "weight of no form": (
        ("weight: 0.01", "weight: strong"),
        'recipe.yaml:15:29  stages.target.regularizers.pull.weight: a number is needed, not "strong"\n'
        "    weight: a number, {term: number}, or {from, to, over}",
    ),
    "weight below zero in a term": (
        ("weight: 0.01", "weight: {backbone: -1}"),
        "recipe.yaml:15:40  stages.target.regularizers.pull.weight.backbone: must be at least 0, not -1",
    ),
    "weight schedule without an end": (
        ("over: 2}", "}"),
        "recipe.yaml:16:25  stages.target.regularizers.spectral.weight.over: is missing",
    ),
    "wrong type": (
        ("epochs: 3", "epochs: three"),
        'recipe.yaml:11:13  stages.target.epochs: a whole number is needed, not "three"',
    ),
    "true for a number": (
        ("batch_size: 4", "batch_size: true"),
        "recipe.yaml:12:17  stages.target.batch_size: a number is needed, not true/false",
    ),
    "word for true": (
        ("batch_size: 4", "channels_last: yes"),
        'recipe.yaml:12:20  stages.target.channels_last: true or false is needed, not "yes"\n    write true',
    ),
    "number for text": (
        ("name: demo", "name: 3.10"),
        "recipe.yaml:1:7  name: text is needed, not 3.1\n    put it in quotes",
    ),
    "out of range": (
        ("1e-3", "-1"),
        "recipe.yaml:13:32  stages.target.optimizer.lr: must be greater than 0, not -1",
    ),
    "not a name": (
        ("name: demo", "name: my demo"),
        'recipe.yaml:1:7  name: "my demo" is not a name: use letters, digits, dots, dashes and underscores, '
        "beginning with a letter or a digit",
    ),
    "duplicate key": (
        ("    epochs: 3\n", "    epochs: 3\n    epochs: 4\n"),
        'recipe.yaml:12:5  the key "epochs" is given twice, first at line 11\n    keep one of the two',
    ),
    "tab": (
        ("    epochs: 3\n", "\tepochs: 3\n"),
        "recipe.yaml:11:1  a tab stands here, where YAML allows only spaces\n"
        "    replace the tabs in this file by spaces",
    ),
    "leading zero": (
        ("batch_size: 4", "batch_size: 010"),
        "recipe.yaml:12:17  010 begins with a zero: it could mean two things\n"
        '    write 10 for the number, or "010" in quotes for text',
    ),
    "unknown data set": (
        ("dataset: pets\n    epochs", "dataset: pet\n    epochs"),
        'recipe.yaml:10:14  stages.target.dataset: there is no data set called "pet"\n'
        '    did you mean "pets"?   available: noisy, pets',
    ),
    "epochs and steps": (
        ("epochs: 3", "epochs: 3\n    steps: 4"),
        "recipe.yaml:12:5  stages.target: give epochs or steps, not both",
    ),
    "neither epochs nor steps": (("    epochs: 3\n", ""), "recipe.yaml:9:5  stages.target: give epochs or steps"),
    "two stages of one name": (
        ("name: second", "name: target"),
        'recipe.yaml:17:12  stages.1.name: a second stage is called "target"',
    ),
    "stages without dashes": (
        (RECIPE[RECIPE.index("stages:") :], "stages: {target: {epochs: 3}}\n"),
        "recipe.yaml:8:9  stages: a list is needed (each item begins with a dash)\n    stages:\n      - name: …",
    ),
}

OVERRIDES = {
    "weight decay twice": (
        ["stages.target.optimizer.weight_decay=1e-4"],
        "recipe.yaml:15:15  stages.target.regularizers.pull.use: pulls the weights as the optimizer's weight_decay "
        "(0.0001) does: they would be pulled twice\n"
        "    set optimizer.weight_decay: 0, or say that it is meant with accept: [weight_decay]",
    ),
    "k above the batch": (
        ["stages.target.regularizers.spectral.k=5"],
        "recipe.yaml:16:15  stages.target.regularizers.spectral.use: k is 5, above the batch of 4",
    ),
    "fp16 on a CPU": (
        ["device=cpu", "stages.target.precision=fp16"],
        "command line: stages.target.precision=fp16  stages.target.precision: fp16 on a CPU is not possible\n"
        "    use bf16 or no",
    ),
    "epochs in the file and steps in an argument": (
        ["stages.target.steps=10"],
        "command line: stages.target.steps=10  stages.target: give epochs or steps, not both",
    ),
    "address with a typo": (
        ["stages.target.epoch=3"],
        'command line: stages.target.epoch=3  stages.target.epoch: there is no such key\n    did you mean "epochs"?',
    ),
    "address of no stage": (
        ["stages.traget.epochs=3"],
        'command line: stages.traget.epochs=3  stages has no item "traget"\n'
        '    did you mean "target"?   available: second, target',
    ),
    "two plugins of one name": (
        ["+stages.target.regularizers={use: pull, weight: 1}"],
        "command line: +stages.target.regularizers={use: pull, weight: 1}  stages.target.regularizers.2.use: "
        'a second plugin is called "pull"\n    give one of them a name: of its own',
    ),
    "a plugin that needs a start": (
        ["stages.second.start=scratch", "stages.second.regularizers=[{use: remember, weight: 1, strength: 2}]"],
        "command line: stages.second.regularizers=[{use: remember, weight: 1, strength: 2}]  "
        "stages.second.regularizers.remember.use: needs the model that the stage starts from, but start is scratch\n"
        "    leave it out of this stage",
    ),
    "an option that is needed": (
        ["stages.second.regularizers=[{use: remember, weight: 1}]"],
        "command line: stages.second.regularizers=[{use: remember, weight: 1}]  "
        "stages.second.regularizers.remember.strength: is missing: remember needs it",
    ),
    "start from a later stage": (
        ["stages.target.start=second"],
        'command line: stages.target.start=second  stages.target.start: the stage "second" comes later\n'
        "    stages run in the order of the list: put that one first",
    ),
    "start from no stage": (
        ["stages.second.start=targte"],
        'command line: stages.second.start=targte  stages.second.start: there is no stage called "targte", '
        'and no such folder\n    did you mean "target"?   available: pretrained, scratch, target',
    ),
    "data sets in a circle": (
        ["datasets.pets={from: noisy, folder: null}"],
        "command line: datasets.pets={from: noisy, folder: null}  datasets.pets.from: goes round in a circle: "
        "pets -> noisy -> pets",
    ),
    "unknown schedule": (
        ["stages.target.schedule.name=cosin"],
        "command line: stages.target.schedule.name=cosin  stages.target.schedule.name: there is no schedule called "
        '"cosin"\n    did you mean "cosine"?   available: constant, cosine, multistep, none, poly, rsqrt, step, '
        "tanh, wsd",
    ),
    "step without every": (
        ["stages.target.schedule.name=step"],
        "command line: stages.target.schedule.name=step  stages.target.schedule.name: the schedule step needs every: "
        "how often to decay\n    every: 10",
    ),
    "warm-up as long as the training": (
        ["stages.target.schedule.warmup=3"],
        "command line: stages.target.schedule.warmup=3  stages.target.schedule.warmup: the warm-up (3 epochs) must be "
        "shorter than the training (3)",
    ),
    "fixed features and a penalty on them": (
        ["stages.target.fixed_features=true"],
        "recipe.yaml:16:15  stages.target.regularizers.spectral.use: acts on the features, which fixed_features keeps "
        "as they are\n    leave out one of the two",
    ),
    "a stream that is not there": (
        ["stages.target.regularizers.pull.on=source"],
        "command line: stages.target.regularizers.pull.on=source  stages.target.regularizers.pull.on: there is no "
        'stream "source": without a curriculum the only one is target',
    ),
    "an analysis of no stage": (
        ["analyses.memory.baseline=sekond"],
        'command line: analyses.memory.baseline=sekond  analyses.memory.baseline: there is no stage called "sekond"\n'
        '    did you mean "second"?   available: second, target',
    ),
    "a recipe of a later version": (
        ["recipe_version=2"],
        "command line: recipe_version=2  recipe_version: 2 is newer than what this transferkit reads (1)\n"
        "    upgrade transferkit",
    ),
}


@pytest.mark.parametrize("case", EDITS)
def test_one_mistake_in_the_file(case, errors):
    (old, new), expected = EDITS[case]
    assert old in RECIPE
    assert errors(text=RECIPE.replace(old, new, 1)) == f"{expected}\n{ONE}"


@pytest.mark.parametrize("case", OVERRIDES)
def test_one_mistake_on_the_command_line(case, errors):
    arguments, expected = OVERRIDES[case]
    assert errors(*arguments) == f"{expected}\n{ONE}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["second.mixup={}"], "second.mixup: does nothing: give mixup or cutmix above 0"),
        (["second.unfreeze={every: 2}"], "second.unfreeze: never opens a group: the training ends after 2 epochs"),
        (["second.fixed_features=true", "second.unfreeze={}"], "second.unfreeze: contradicts fixed_features"),
        (["second.fixed_features=true", "second.start=scratch"], "with start: scratch would train a head on random"),
        (["second.fixed_features=true", "second.optimizer.layer_decay=0.9"], "layer_decay: contradicts fixed_features"),
        (["second.augmentation={none: true, vflip: 0.5}"], "second.augmentation.none: contradicts vflip"),
        (["second.augmentation.scale=[0.9, 0.1]"], "the first share must not be above the second"),
        (["second.schedule={name: multistep}"], "the schedule multistep needs milestones"),
        (["second.schedule={name: multistep, milestones: [3, 1]}"], "milestones: must be in increasing order"),
        (["second.schedule.min_lr=1"], "second.schedule.min_lr: must not be above the optimizer's lr (0.001)"),
        (["second.schedule.name=plateau"], "plateau is not offered"),
        (["second.start=second"], "a stage cannot start from itself"),
        (["second.name=scratch"], '"scratch" is a kind of start, so no stage can be called so'),
        (["second.clip={norm: 1, value: 1}"], "second.clip: give exactly one of norm, value, agc"),
    ],
)
def test_contradictions_in_a_stage(arguments, message, errors):
    text = errors(*(f"stages.{argument}" for argument in arguments))
    assert message in text and text.endswith(f"\n{ONE}")


def test_contradictions_can_be_accepted(load):
    load("stages.target.optimizer.weight_decay=1e-4", "stages.target.accept=[weight_decay]")


def test_fp16_where_no_gpu_shows(errors, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    text = errors("stages.target.precision=fp16")
    assert "fp16 on a CPU is not possible, and this machine shows no GPU" in text


def test_everything_at_once_in_the_order_of_the_file(errors):
    """No mistake hides another, and none causes a second message."""
    text = """\
name: demo
modle: {name: resnet18, weights: gone.safetensors}
datasets:
  pets: {folder: pets}
  both: {folder: pets, npz: x.npz}
stages:
  - name: target
    dataset: pet
    epoch: 25
    batch_size: 4.5
    schedule: {name: stepp, warmup: 30}
    regularizers:
      - {use: spectrl, weight: 1}
      - {use: spectral, weight: -1, kk: 1}
  - {name: second, start: traget, epochs: 3, dataset: pets, regularizers: [{use: pull, weight: 1}],
     optimizer: {weight_decay: 1}}
"""
    lines = [line for line in errors("sed=3", text=text).splitlines() if not line.startswith("    ")]
    assert [line.partition(": ")[0] for line in lines[:-2]] == [
        "recipe.yaml:2:1  modle",
        "recipe.yaml:2:34  model.weights",
        "recipe.yaml:5:24  datasets.both",
        "recipe.yaml:8:14  stages.target.dataset",
        "recipe.yaml:9:5  stages.target.epoch",
        "recipe.yaml:10:17  stages.target.batch_size",
        "recipe.yaml:11:22  stages.target.schedule.name",
        "recipe.yaml:11:37  stages.target.schedule.warmup",
        "recipe.yaml:13:15  stages.target.regularizers.spectrl.use",
        "recipe.yaml:14:33  stages.target.regularizers.spectral.weight",
        "recipe.yaml:14:37  stages.target.regularizers.spectral.kk",
        "recipe.yaml:15:27  stages.second.start",
        "recipe.yaml:15:82  stages.second.regularizers.pull.use",
    ]
    assert lines[-2] == "command line: sed=3  sed: there is no such key"
    assert lines[-1] == "14 problems; nothing was started."


class Misspelt:
    def penaltyy(self, features):
        return 0


class WrongArgument:
    def penalty(self, feature):
        return 0


class Refuses:
    def check(self, stage):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (Misspelt, 'third-party 1.2: Misspelt: there is no hook "penaltyy"; did you mean "penalty"?'),
        (WrongArgument, 'third-party 1.2: WrongArgument.penalty: there is no argument "feature" to ask for; '),
        (
            "no_such_module:Thing",
            'the regularizer "broken" of third-party 1.2 could not be loaded: ModuleNotFoundError',
        ),
        (Refuses, "its check failed with RuntimeError: no\n    third-party 1.2"),
    ],
)
def test_a_broken_plugin_spoils_no_other_message(target, expected, errors):
    registry = registry_of(regularizer={"broken": target, "remember": Remember})
    text = RECIPE.partition("    regularizers:")[0].replace("corruptions: [{use: patch, ratio: 0.5}]", "")
    text += "    regularizers: [{use: broken, weight: 1}, {use: remember, weight: 1, strength: lots}]\n"
    found = errors(text=text, registry=registry)
    assert f"recipe.yaml:14:26  stages.target.regularizers.broken.use: {expected}" in found
    assert 'stages.target.regularizers.remember.strength: a number is needed, not "lots"' in found
    assert found.endswith("2 problems; nothing was started.")


def test_a_broken_plugin_harms_nobody_who_does_not_use_it(load, registry):
    registry.add("regularizer", "broken", "no_such_module:Thing", registry.components["regularizer", "pull"].owner)
    assert load(registry=registry).recipe.name == "demo"
