"""Two processes (gloo, CPU) train the same model as one, and count every sample once."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.training.conftest import offer
from tests.training.test_loop import records, weights
from tests.training.two_processes import free_port, in_two_processes


def torchrun_fails(recipe: Path, out: Path, plugins: Path) -> str:
    """What the launcher and its processes say on standard error."""
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={free_port()}"),
        *("-m", "transferkit", "run", str(recipe), "--out", str(out), "--json", "--quiet"),
    ]
    environment = {"OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin", "HOME": str(out), "PYTHONPATH": str(plugins)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert done.returncode
    return done.stderr


@pytest.mark.parametrize(
    "stage",
    [
        {"regularizers": [{"use": "l2", "weight": 0.01}], "clip": {"norm": 1.0}},
        {"accumulate": 2, "batch_size": 13, "unfreeze": {"every": 1}},
        {"batch_size": 13, "regularizers": [{"use": "activation_l1", "weight": 1.0}]},
    ],
    ids=["l2 and clipping", "accumulation, odd batches, unfreezing", "a mean over images, odd batches"],
)
def test_two_processes_train_what_one_trains(recipe_file, run, tmp_path, stage) -> None:
    """Batch norm is in eval mode and nothing is augmented, so that only the sums' order differs."""
    common = {"batchnorm": "eval", "augmentation": {"none": True}} | stage
    one = run(**common)
    two = in_two_processes(recipe_file(**common), tmp_path / "two")
    run_dir = Path(two["run_dir"])
    for name, tensor in weights(one.run_dir).items():
        torch.testing.assert_close(weights(run_dir)[name], tensor, rtol=1e-4, atol=1e-5)
    assert [line["images"] for line in records(run_dir)] == [30, 30]
    assert [line["images"] for line in records(run_dir, "val")] == [12, 12]
    for ours, theirs in zip(records(one.run_dir), records(run_dir), strict=True):
        assert theirs["loss"] == pytest.approx(ours["loss"], rel=1e-4)
        assert theirs["top1"] == pytest.approx(ours["top1"])
    assert two["stages"]["target"]["best"]["top1"] == pytest.approx(one.stages["target"]["best"]["top1"])


def test_the_interpreters_end_cannot_fail_a_run_that_is_done(recipe_file, tmp_path) -> None:
    """Threads of a process group that outlive the run may abort while the interpreter is taken down."""
    script = tmp_path / "aborts.py"
    script.write_text("import atexit, os\natexit.register(os.abort)\nfrom transferkit.cli import main\nmain()\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone", str(script)),
            *("run", str(recipe_file()), "--out", str(tmp_path / "out"), "--json", "--quiet"),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["status"] == "done"


PLUGINS = """\
import os

import transferkit


class Pairs:
    \"\"\"Every target image brings a source image, and both heads see the mean of the two.\"\"\"

    def streams(self, session):
        samples = session.open_samples("other", "train")
        partner = lambda indices, keys: (indices * 5 + keys) % len(samples)
        return {"source": transferkit.Stream(samples, head="joint", partner=partner)}

    def combine(self, images, labels):
        both = 0.7 * images["target"] + 0.3 * images["source"]
        return transferkit.Combined({"target": both, "source": both}, labels, {"target": 0.7, "source": 0.3})


class Halve:
    def transform_features(self, features):
        return features * 0.5


class Broken:
    \"\"\"In one process, at one step, a penalty of value 0 whose gradient is NaN.\"\"\"

    def penalty(self, features, step):
        if step != 2 or os.environ.get("RANK") != "1":
            return features.sum() * 0
        return (features - features.detach()).square().sum().sqrt()


@transferkit.hookimpl
def transferkit_register(register):
    register.regularizer("broken", Broken)
    register.curriculum("pairs", Pairs)
    register.regularizer("halve", Halve)
"""


@pytest.fixture
def pairs(tmp_path, registry, monkeypatch) -> Path:
    """A folder with an installed distribution of two plugins, which this process knows too."""
    folder = tmp_path / "plugins"
    about = folder / "paired_streams-1.0.dist-info"
    about.mkdir(parents=True)
    (folder / "paired_streams.py").write_text(PLUGINS)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: paired-streams\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[transferkit]\npaired_streams = paired_streams\n")
    names: dict = {}
    exec(PLUGINS, names)
    offer(registry, "curriculum", "pairs", names["Pairs"])
    offer(registry, "regularizer", "broken", names["Broken"])
    offer(registry, "regularizer", "halve", names["Halve"])
    return folder


def test_a_paired_stream_is_the_same_in_two_processes(recipe_file, run, pairs, tmp_path, tiny_npz) -> None:
    """Each process brings the partners of its own images; heads are joined and features changed."""
    top = {"datasets": {"tiny": {"npz": str(tiny_npz)}, "other": {"world": {"kind": "digits", "train": 2, "size": 32}}}}
    common = {"batchnorm": "eval", "augmentation": {"none": True}, "batch_size": 13, "keep": "last"}
    common |= {"curriculum": {"use": "pairs"}, "regularizers": [{"use": "halve"}], "evaluate_at": [1, 2]}
    one = run(top, **common)
    two = in_two_processes(recipe_file(top, **common), tmp_path / "two", plugins=pairs)
    run_dir = Path(two["run_dir"])
    for name, tensor in weights(one.run_dir).items():
        torch.testing.assert_close(weights(run_dir)[name], tensor, rtol=1e-4, atol=1e-5)
    assert [line["images"] for line in records(run_dir)] == [30, 30]
    for ours, theirs in zip(records(one.run_dir), records(run_dir), strict=True):
        assert theirs["loss"] == pytest.approx(ours["loss"], rel=1e-4)
        assert theirs["top1"] == pytest.approx(ours["top1"])
    ours, theirs = (
        [json.loads(line) for line in (folder / "early_steps.jsonl").read_text().splitlines()]
        for folder in (one.run_dir, run_dir)
    )
    assert [record["images"] for record in theirs] == [12, 12]
    assert [record["loss"] for record in theirs] == pytest.approx([record["loss"] for record in ours], rel=1e-4)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_gradient_that_is_no_number_in_one_process_ends_both(recipe_file, pairs, tmp_path, accumulate) -> None:
    """The one that speaks names what happened in the other, and its images. torchrun may end the slower of the two."""
    recipe = recipe_file(regularizers=[{"use": "broken", "weight": 1.0}], accumulate=accumulate, batch_size=6)
    said = torchrun_fails(recipe, tmp_path / "two", pairs)
    assert set(re.findall(r"exitcode\s*: (\d+)", said)) == {"4"}, said[-3000:]
    assert said.count("the gradient of the penalty broken (in ") == 1, said[-3000:]
    (run_dir,) = (tmp_path / "two" / "tiny").iterdir()
    result = json.loads((run_dir / "result.json").read_text())
    assert result["status"] == "failed" and "is not finite at step 2" in result["error"]
    assert f"{run_dir}/stages/target/checkpoints/step-000002." in result["error"]
    (images,) = re.findall(r"Images of this step: (.*?)\. The", result["error"])
    assert len(images.split(", ")) == 6, "of both processes"
