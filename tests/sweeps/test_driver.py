"""A sweep runs every cell once, shares stages, goes on where it was killed, and says what failed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

from transferkit import api
from transferkit.report import csv_bytes
from transferkit.sweeps.folder import SweepFolder
from transferkit.sweeps.table import sweep_table

from .conftest import SWEEP, Here, write_sweep


def weights(run, stage="target"):
    return (run.model(stage) / "model.safetensors").read_bytes()


def test_all_cells_are_done_and_the_first_stage_is_trained_once_a_seed(finished):
    _, _folder, standings, executor, said = finished
    assert [one.status for one in standings.values()] == ["done"] * 4 and len(executor.commands) == 4
    taken = [text for text in said if "with source of another cell" in text]
    assert len(taken) == 2 and all(text.startswith("rate") for text in taken)


def test_a_cell_is_an_ordinary_run_to_the_last_bit(finished, tmp_path):
    place, folder, *_ = finished
    change = {"stages.target.optimizer.lr": 0.5, "seed": 1}
    plain = api.run(place / "tiny.yaml", out=tmp_path, quiet=True, **change).run_dir
    cell = next(one.name for one in folder.entries if one.label == "rate" and one.seed == 1)
    for stage in ("source", "target"):
        ours = folder.run(cell).model(stage) / "model.safetensors"
        assert ours.read_bytes() == (plain / "stages" / stage / "model" / "model.safetensors").read_bytes()
    lines = [json.loads(line) for line in (folder.run(cell).path / "metrics.jsonl").read_text().splitlines()]
    theirs = [json.loads(line) for line in (plain / "metrics.jsonl").read_text().splitlines()]
    told = ("stage", "epoch", "split", "loss", "top1")
    assert [[line.get(key) for key in told] for line in lines] == [[line.get(key) for key in told] for line in theirs]


def test_what_is_done_is_not_run_again(finished, drive):
    place, *_ = finished
    _, standings, executor, _ = drive(place / "sweep.yaml", place / "out")
    assert executor.commands == [] and {one.status for one in standings.values()} == {"done"}


def test_another_seed_runs_alone(finished, drive):
    place, *_ = finished
    more = place / "more.yaml"
    more.write_text(SWEEP.replace("seeds: 2", "seeds: 3"))
    _, _standings, executor, _ = drive(more, place / "out")
    assert len(executor.commands) == 2 and all("seed2" in name for name in executor.commands)
    drive(place / "sweep.yaml", place / "out")  # as others expect the plan


def test_what_failed_is_said_and_tried_again_on_demand(drive, tmp_path):
    file = write_sweep(tmp_path, SWEEP.replace("seeds: 2", "seeds: 1"))
    _folder, standings, _, said = drive(file, tmp_path / "out", Here(broken=["rate"]))
    assert sorted(one.status for one in standings.values()) == ["done", "failed"]
    assert any("the machine was on fire" in text for text in said)
    _, standings, executor, _ = drive(file, tmp_path / "out", retry=True)
    assert {one.status for one in standings.values()} == {"done"} and len(executor.commands) == 1


def test_a_cell_whose_recipe_cannot_run_is_a_failure_with_its_sentence(drive, tmp_path):
    file = write_sweep(tmp_path, SWEEP.replace("seeds: 2", "seeds: 1"))
    for image in (tmp_path / "data" / "train" / "dark").glob("*.png"):
        image.write_bytes(b"no image")
    _, standings, *_ = drive(file, tmp_path / "out")
    assert {one.status for one in standings.values()} == {"failed"}
    assert all(".png" in one.why for one in standings.values())


def test_only_one_process_drives(finished):
    _, folder, *_ = finished
    code = """
import sys
from pathlib import Path
from transferkit.sweeps.folder import SweepFolder
with SweepFolder(Path(sys.argv[1])).driving():
    pass
"""
    with folder.driving():
        ended = subprocess.run([sys.executable, "-c", code, str(folder.path)], capture_output=True, text=True)
    assert ended.returncode == 1 and "InputError" in ended.stderr and "process" in ended.stderr


def test_killed_at_random_it_ends_with_the_same_table(finished, tmp_path):
    _, whole, *_ = finished
    file = write_sweep(tmp_path)
    command = [sys.executable, "-m", "transferkit", "sweep", str(file), "--out", str(tmp_path / "out"), "--jobs", "2"]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    folder = SweepFolder(tmp_path / "out" / "methods")
    limit = time.monotonic() + 120
    while not list(folder.path.glob("cells/*/stages/source/model")) and time.monotonic() < limit:
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    ended = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stderr
    tables = [csv_bytes(sweep_table(one.path, ["top1", "loss"]).table()) for one in (folder, whole)]
    assert tables[0] == tables[1]
    for entry in folder.entries:
        assert weights(folder.run(entry.name)) == weights(whole.run(entry.name))
