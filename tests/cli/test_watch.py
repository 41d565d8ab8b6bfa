"""watch: the sentence, the exit code, the picture, and a log that is followed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from transferkit.errors import InputError
from transferkit.testing import tiny_guarded


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    return tiny_guarded(tmp_path_factory.mktemp("watched") / "model", named=[1] * 2 + [3] * 17)


def write(path, flags, **more):
    with path.open("a") as file:
        file.writelines(json.dumps({"flag": bool(flag), "source_class": "daisy", **more}) + "\n" for flag in flags)
    return path


def test_quiet_and_loud(cli, guarded, tmp_path):
    log = write(tmp_path / "log.jsonl", [0] * 60 + [1])
    quiet = cli("watch", log, guarded, "--fail-on-alarm")
    assert quiet.exit_code == 0 and quiet.stdout.startswith("No alarm in 61 answers")
    write(log, [1] * 40)
    assert cli("watch", log, guarded).exit_code == 0
    loud = cli("watch", log, guarded, "--fail-on-alarm", "--out", tmp_path / "e.svg")
    assert loud.exit_code == 3 and loud.stdout.startswith("ALARM: since about record 61 these images are not like")
    assert "answers" in (tmp_path / "e.svg").read_text()


def test_for_machines(cli, guarded, tmp_path):
    found = json.loads(cli("watch", write(tmp_path / "log.jsonl", [0] * 20 + [1] * 60), guarded, "--json").stdout)
    assert found["alarm"] and found["alarms"][0]["since"] == 21 and found["alarms"][0]["name"] is None
    assert (found["records"], found["flagged"], found["error"]) == (80, 60, 0.01)
    assert {one["name"] for one in found["watched"]} == {None, "espresso", "daisy"}
    assert found["watched"][0]["e_value"] > found["watched"][0]["limit"]


def test_without_a_model_a_rate_is_needed(cli, tmp_path):
    log = write(tmp_path / "log.jsonl", [1] * 20)
    assert cli("watch", log, "--rate", 0.1, "--fail-on-alarm").exit_code == 3
    with pytest.raises(InputError, match="give the MODEL that answered, or the --rate"):
        cli("watch", log)


def test_a_state_takes_each_answer_once(cli, guarded, tmp_path):
    log, state = write(tmp_path / "log.jsonl", [0] * 30), tmp_path / "state.json"
    for number in (30, 30, 42):
        if number == 42:
            write(log, [0] * 12)
        found = json.loads(cli("watch", log, guarded, "--state", state, "--json").stdout)
        assert found["records"] == number
    with pytest.raises(InputError, match="or of other options"):
        cli("watch", log, guarded, "--state", state, "--block", 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--out", "e.png"], "ends in .svg"),
        (["--every", 0], "--every"),
        (["--block", 2, "--gap", 3], "one of the two"),
        (["--error", 2], "between 0 and 1"),
    ],
)
def test_options_that_cannot_be(cli, guarded, tmp_path, options, words):
    with pytest.raises(InputError, match=words):
        cli("watch", write(tmp_path / "log.jsonl", [0]), guarded, *options)


def test_a_model_without_a_detector(cli, model_folder, tmp_path):
    with pytest.raises(InputError, match="no answer of it has a flag"):
        cli("watch", write(tmp_path / "log.jsonl", [0]), model_folder)


def follow(log, *options):
    command = [sys.executable, "-m", "transferkit", "watch", log, "--rate", "0.1", "--follow", "--every", "0.05"]
    return subprocess.Popen(
        [*map(str, [*command, *options])],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def test_follows_over_a_rotation_until_the_alarm(tmp_path):
    log = write(tmp_path / "log.jsonl", [0] * 10)
    process = follow(log, "--fail-on-alarm")
    try:
        assert process.stdout.readline().startswith("No alarm in 10 answers")
        with log.open("a") as file:
            file.write('{"flag": tr')
            file.flush()
            time.sleep(0.2)
            file.write("ue}\n")
        log.rename(tmp_path / "log.jsonl.1")
        write(log, [1] * 30)
        said = process.communicate(timeout=30)[0]
    finally:
        process.kill()
    assert process.returncode == 3 and "ALARM: since about record 11 " in said and "neither a score" not in said


def test_a_signal_ends_it_with_its_state_written(tmp_path):
    log, state = write(tmp_path / "log.jsonl", [0] * 10), tmp_path / "state.json"
    process = follow(log, "--state", state)
    try:
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 143
    finally:
        process.kill()
    assert json.loads(state.read_text())["monitor"]["records"] == 10
