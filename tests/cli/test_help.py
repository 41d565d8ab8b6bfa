"""Help texts: plain types, an example of every verb that its options allow, and no torch."""

from __future__ import annotations

import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import transferkit.cli
from transferkit.cli import BUILT_IN
from transferkit.cli.help import VERBS
from transferkit.cli.verbs import opened


def test_every_file_with_a_verb_is_in_the_table():
    files = {path.stem for path in Path(transferkit.cli.__file__).parent.glob("[!_]*.py")}
    modules = {name: import_module(f"transferkit.cli.{name}") for name in files}
    verbs = {name for name, module in modules.items() if hasattr(module, "typer") and hasattr(module, name)}
    assert verbs == VERBS.keys() == BUILT_IN


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_is_listed_with_the_first_line_of_its_help(verb):
    assert VERBS[verb].words == opened(verb).help.partition("\n\n")[0]


def test_lists_are_whole_in_plain_text(cli):
    shown = " ".join(cli("--help").stdout.split())
    assert all(f" {verb} {listed.words}" in shown for verb, listed in VERBS.items())
    assert "package of any kind: the plugin, its registration, its card, a recipe and a test." in " ".join(
        cli("plugins", "--help").stdout.split()
    )


@pytest.mark.parametrize("verb", VERBS)
def test_the_example_is_understood_and_types_are_plain(cli, verb):
    shown = cli(verb, "--help").stdout
    assert "Example: transferkit" in shown
    for raw in ("<str", "<path", "<int", "<bool", "<list", "list["):
        assert raw not in shown, raw
    first, *words = shlex.split(VERBS[verb].example)
    assert first == verb
    opened(verb).make_context(verb, words, resilient_parsing=False)  # refuses unknown options and wrong values


def test_plugins_verbs_are_plain_too(cli):
    assert "<regu" not in cli("plugins", "new", "--help").stdout


SLOW = {
    "--help": "torch timm numpy pydantic rich yaml transferkit.recipe",
    "--version": "torch timm numpy pydantic rich yaml transferkit.recipe",
    "predict --help": "torch timm",
}


@pytest.mark.parametrize("words", SLOW)
def test_help_does_without_what_is_slow_to_import(words):
    code = (
        "import sys\nfrom transferkit.cli import main\n"
        f"try: main({words.split()})\nexcept SystemExit: pass\n"
        f"sys.exit(' '.join(set({SLOW[words].split()}) & set(sys.modules)) or None)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stderr == "", done.stderr
