"""tutorial.md and python.md as one would follow them, on drawn pictures and a small backbone from a file."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform, resolve_data_config
from typer.testing import CliRunner

import transferkit
from transferkit.cli import complete
from transferkit.data.world import SOURCE_CLASSES, TARGET_CLASSES, draw
from transferkit.testing.detector import tiny_guarded
from transferkit.words.doors import coming_from

from .pages import blocks, page

SMALL = "{name: test_resnet, weights: test_resnet.safetensors, preprocessing: {input_size: 48}}"
IMAGENET = {"tench": 0, "goldfish": 1, "espresso": 967, "daisy": 985}  # classes of the backbone, for drawn pictures
BALLOON = 417  # what the backbone calls those of the task


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """The working directory of the tutorial: data/flowers, imagenet/val, photo.jpg, and weights in a file."""
    monkeypatch.chdir(tmp_path)
    kinds = {"data/flowers/daisy": ("target", TARGET_CLASSES[0]), "data/flowers/tulip": ("target", TARGET_CLASSES[1])}
    kinds |= {f"imagenet/val/{name}": ("source", SOURCE_CLASSES[i]) for i, name in enumerate(IMAGENET)}
    for place, (kind, name) in kinds.items():
        Path(place).mkdir(parents=True)
        for index in range(12 if kind == "source" else 96):  # of which 19 are held back
            Image.fromarray(draw(kind, "train", name, index, 48)).save(f"{place}/{index}.png")
    Path("photos").mkdir()
    for place in ("photo.jpg", "photos/1.jpg"):
        Image.fromarray(draw("target", "val", TARGET_CLASSES[0], 0, 48)).save(place)
    save_file(backbone(kinds).state_dict(), "test_resnet.safetensors")
    return tmp_path


def backbone(folders):
    """A net whose head knows the drawn pictures by names of ImageNet: least squares on the features of a random one."""
    torch.manual_seed(0)
    net = timm.create_model("test_resnet", num_classes=1000).eval()
    transform = create_transform(**resolve_data_config({"input_size": (3, 48, 48)}, model=net))
    images, labels = [], []
    for folder in folders:
        for path in sorted(Path(folder).glob("*.png")):
            images.append(transform(Image.open(path)))
            labels.append(IMAGENET.get(Path(folder).name, BALLOON) if folder.startswith("imagenet") else BALLOON)
    with torch.no_grad():
        features = net.forward_head(net.forward_features(torch.stack(images)), pre_logits=True)
        known = sorted(set(labels))
        wanted = (torch.tensor(labels)[:, None] == torch.tensor(known)).float()
        net.fc.weight.zero_()
        net.fc.bias.fill_(6)  # the classes that no picture is of
        net.fc.weight[known] = 20 * torch.linalg.lstsq(features, wanted).solution.T
        net.fc.bias[known] = 0
    return net


def test_every_step_of_the_tutorial_works(photographs, capsys):
    printed = ""
    for block in blocks(page("tutorial"), "console"):
        for line in block.splitlines():
            words = shlex.split(line.removeprefix("$ transferkit "))
            runs = sorted(Path("runs/flowers").glob("*")) if Path("runs/flowers").is_dir() else []
            words = [str(runs[0]) if word == "runs/flowers/…" else word for word in words]
            if words[0] == "run":
                words += ["stages.target.epochs=2", "threads=1", "device=cpu"]
            if words[0] == "audit":
                words += [
                    "--threads",
                    "1",
                    "--quiet",
                    *(["--analyses", "retention"] if "--analyses" not in words else []),
                ]
            with coming_from("command line"):
                done = CliRunner().invoke(complete(), words)
            assert done.exit_code == 0, (line, done.output, done.exception)
            printed += done.output
            if words[0] == "init":
                text = Path("flowers.yaml").read_text()
                Path("flowers.yaml").write_text(re.sub(r"^model: .*$", f"model: {SMALL}", text, flags=re.MULTILINE))
    assert "192" in printed and "photo.jpg" in printed and "retention: " in printed
    (block,) = blocks(page("tutorial"), "python")
    (run,) = Path("runs/flowers").glob("*")
    capsys.readouterr()
    exec(block.replace("runs/flowers/…", run.as_posix()), {})
    said = capsys.readouterr().out
    assert said.startswith(("do not trust it: ", "daisy ", "tulip "))


def test_every_block_of_the_python_page_works(photographs, capsys):
    pytest.importorskip("pandas")
    first, *rest = blocks(page("python"), "python")
    names: dict[str, object] = {}
    small = (
        '"device": "cpu", "threads": 1, "model": {"name": "test_resnet", "weights": "test_resnet.safetensors", '
        '"preprocessing": {"input_size": 48}}'
    )
    exec(
        first.replace('"model": {"name": "resnet50"}', small).replace('"epochs": 10', '"epochs": 10, "workers": 0'),
        names,
    )
    assert names["result"].stages["target"]["last"]["epoch"] == 2
    for block in rest:
        exec(block, names)
    assert names["answer"].label in ("daisy", "tulip") and len(names["answers"]) == 1
    assert list(names["found"].verdicts) == ["retention"]
    (shown,) = blocks(page("python"), "text")
    assert capsys.readouterr().out.strip().endswith(shown.strip())


def test_an_answer_in_python_says_either_thing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.full((40, 40, 3), 120, np.uint8)).save("photo.jpg")
    (block,) = blocks(page("tutorial"), "python")
    for detect_p, said in ((0.0, "do not trust it: "), (1.0, ("ants ", "bees "))):
        folder = tiny_guarded(tmp_path / f"model-{detect_p}", detect_p=detect_p)
        exec(block.replace("runs/flowers/…", folder.as_posix()), {})
        assert capsys.readouterr().out.startswith(said)
    assert transferkit.load(folder).guarded
