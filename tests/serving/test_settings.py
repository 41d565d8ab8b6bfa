from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module

import pytest
from typer.testing import CliRunner

from transferkit.cli import app
from transferkit.errors import InputError
from transferkit.serving import server
from transferkit.serving.settings import Settings, read_api_key


@pytest.mark.parametrize(
    "wrong, says",
    [
        ({"engine": "tf"}, "--engine"),
        ({"queue": 0}, "--queue"),
        ({"max_batch": 0}, "--max-batch"),
        ({"max_wait_ms": -1}, "--max-wait-ms"),
        ({"read_timeout": float("nan")}, "--read-timeout"),
        ({"max_pixels": 10**9}, "Pillow"),
    ],
)
def test_wrong_settings_are_named(wrong, says):
    with pytest.raises(InputError, match=says):
        Settings(**wrong)


def test_the_key_comes_from_the_environment(monkeypatch):
    assert read_api_key(None) is None
    monkeypatch.setenv("KEY", " a long enough key\n")
    assert read_api_key("KEY") == "a long enough key"
    for value in ("", "short"):
        monkeypatch.setenv("KEY", value)
        with pytest.raises(InputError, match="KEY"):
            read_api_key("KEY")


def test_a_taken_port_is_named():
    with server.listen("127.0.0.1", 0) as bound:
        bound.listen()
        port = bound.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port}.*--port"):
            server.listen("127.0.0.1", port)
    with pytest.raises(InputError, match="cannot listen on"):
        server.listen("no.such.host.invalid", 0)


def test_a_missing_extra_is_named(folder, monkeypatch):
    module = import_module("transferkit.cli.serve")  # the package's attribute of that name is the verb
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "fastapi" else object())
    result = CliRunner().invoke(app, ["serve", str(folder)])
    assert isinstance(result.exception, InputError)
    assert 'pip install "transferkit[serve]"' in str(result.exception)


def test_help_imports_no_server():
    code = (
        "import sys; from typer.testing import CliRunner; from transferkit.cli import app; "
        "assert CliRunner().invoke(app, ['serve', '--help']).exit_code == 0; "
        "sys.exit(any(name in sys.modules for name in ('fastapi', 'uvicorn', 'torch', 'onnxruntime', 'PIL')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, env=_path()).returncode == 0


def _path():
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
