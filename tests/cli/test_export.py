from __future__ import annotations

import json
import subprocess
import sys

import pytest

from transferkit.errors import InputError
from transferkit.system import terminal as output
from transferkit.testing.detector import tiny_guarded

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture
def folder(tmp_path):
    return tiny_guarded(tmp_path / "model")


def test_writes_the_file_and_says_what_it_is(cli, folder):
    result = cli("export", folder, "--format", "pt2", "--input", "floats", "--max-batch", 2)
    assert {path.name for path in (folder / "exports").iterdir()} == {"model.pt2", "export.json", "predict.py"}
    first, inputs, outputs, agrees = result.stdout.splitlines()
    assert str(folder / "exports" / "model.pt2") in first and "batches of 1 to 2" in first
    assert "images float32 (batch, 3, 32, 32)" in inputs
    assert "logits float32 (batch, 2); score float32 (batch); source_class int64 (batch)" in outputs
    assert "3 images in batches of 1, 2: the same classes, logits differ by at most" in agrees
    assert result.stderr == ""
    checked = cli("export", folder, "--check")
    assert checked.stdout == result.stdout


def test_onnx_is_the_default_and_json_is_the_record(cli, folder, tmp_path):
    out = tmp_path / "out"
    result = cli("export", folder, "--out", out, "--input", "floats", "--max-batch", 2, "--json")
    assert json.loads(result.stdout) == json.loads((out / "export.json").read_text())
    assert {path.name for path in out.iterdir()} == {"model.onnx", "export.json", "config.pbtxt", "predict.py"}
    assert not (folder / "exports").exists()


def test_a_model_without_a_detector_is_said(cli, model_folder, tmp_path):
    result = cli(
        "export", model_folder, "--format", "pt2", "--out", tmp_path / "out", "--input", "floats", "--max-batch", 2
    )
    assert "no interference detector, so logits are the only output" in result.stderr
    assert "outputs  logits float32 (batch, 2)\n" in result.stdout


def test_wrong_requests(cli, folder):
    with pytest.raises(InputError, match="there is no exported file here"):
        cli("export", folder, "--check")
    with pytest.raises(InputError, match="--opset has no meaning"):
        cli("export", folder, "--check", "--opset", 18)
    with pytest.raises(InputError, match="does not exist"):
        cli("export", folder / "nowhere")
    assert cli("export", folder, "--format", "tflite").exit_code == 2
    assert cli("export", folder, "--max-batch", 1).exit_code == 2
    assert not (folder / "exports").exists()


def test_the_exporter_says_nothing_and_a_tampered_file_is_a_sentence(folder):
    command = [sys.executable, "-m", "transferkit", "export", str(folder), "--max-batch", "2", "--input", "floats"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "" and len(done.stdout.splitlines()) == 5
    with (folder / "exports" / "model.onnx").open("ab") as file:
        file.write(b"\0")
    done = subprocess.run([*command[:5], "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert "not the file that was exported" in done.stderr and "Traceback" not in done.stderr


def test_long_steps_are_shown_on_a_terminal_even_while_stderr_leads_elsewhere(monkeypatch):
    import io
    import time
    from contextlib import redirect_stderr

    from rich.console import Console

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal, other = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(output, "err", Console(stderr=True, force_terminal=True))
    monkeypatch.setattr(output, "PATIENCE", 0.05)
    with output.working("starting") as step, redirect_stderr(other):
        step("tracing [bold]the graph")
        time.sleep(0.4)
    assert "tracing [bold]the graph" in terminal.getvalue() and other.getvalue() == ""
    quick = Terminal()
    monkeypatch.setattr(sys, "stderr", quick)
    with output.working("starting") as step:
        step("done")
    assert "done" not in quick.getvalue()
