"""Sentences say what the caller can type: options on the command line, arguments in Python."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house import files
from transferkit.words.doors import call, coming_from, option, said, shell


def test_the_command_line_reads_options_and_commands():
    with coming_from("command line"):
        assert (option("source-data", "DIR"), option("source_data"), option("allow-plugins", True)) == (
            "--source-data DIR",
            "--source-data",
            "--allow-plugins",
        )
        assert call("resume", "runs/x", option("stage", "a")) == "transferkit resume runs/x --stage a"
        assert shell("transferkit replay runs/x") == "transferkit replay runs/x"


def test_python_reads_code_that_runs():
    with coming_from("Python"):
        given = [option("source-data", 'a "b"'), option("allow-plugins", True)]
        text = call("resume", Path("runs/é"), *given)
        assert said("one", "two") == "two" and option("source-data") == "source_data"
    called = {}
    exec(text, {"transferkit": type("module", (), {"resume": staticmethod(lambda *a, **k: called.update(a=a, k=k))})})
    assert called == {"a": ("runs/é",), "k": {"source_data": 'a "b"', "allow_plugins": True}}


def test_the_outer_door_counts_and_is_closed_after_an_error():
    with pytest.raises(ValueError), coming_from("command line"), coming_from("Python"):
        assert said("one", "two") == "one"
        raise ValueError
    with coming_from("Python"):
        assert said("one", "two") == "two"


# -- no other sentence speaks of options ------------------------------------------------------------------------------

ONLY_TYPED = re.compile(
    r"transferkit\.(cli|reporting|serving|sweeps|testing)\.|transferkit\.deploy\.(export|lossy|portable)|transferkit\.runs\.(replay|edit_recipe)"
    r"|transferkit\.analysis\.asked_classes|transferkit\.words\.doors|transferkit_across"
)
"""Files that only a command reaches, and the page, which is read apart from any program."""


def texts(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Text constants that are no docstrings, nor what `said` has for the command line."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
            continue
        if isinstance(child, ast.Call) and isinstance(child.func, ast.Name) and child.func.id in ("said", "shell"):
            continue
        if isinstance(child, ast.Constant) and isinstance(child.value, str):
            yield child.lineno, child.value
        yield from texts(child)


def test_python_is_told_of_no_options_and_commands():
    wrong = [
        f"{path.name}:{line}: {text}"
        for module, path in files().items()
        if not ONLY_TYPED.match(f"{module}.")
        for line, text in texts(ast.parse(path.read_text(encoding="utf-8")))
        if re.search(r"(^|[\s(`'\"])--[a-z]{2,}|transferkit (run|resume|audit) |on the command line", text)
    ]
    assert wrong == []
