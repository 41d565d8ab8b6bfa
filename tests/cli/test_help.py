"""Help texts: plain types, an example of every verb that its options allow, and no torch."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest
import typer

from transferkit.cli import BUILT_IN, app
from transferkit.cli.help import EXAMPLES

COMMANDS = typer.main.get_command(app).commands


def test_every_verb_has_an_example():
    assert EXAMPLES.keys() == BUILT_IN - {"plugins"}


@pytest.mark.parametrize("verb", EXAMPLES)
def test_the_example_is_understood_and_types_are_plain(cli, verb):
    shown = cli(verb, "--help").stdout
    assert "Example: transferkit" in shown
    for raw in ("<str", "<path", "<int", "<bool", "<list", "list["):
        assert raw not in shown, raw
    first, *words = shlex.split(EXAMPLES[verb])
    assert first == verb
    COMMANDS[verb].make_context(verb, words, resilient_parsing=False)  # refuses unknown options and wrong values


def test_plugins_verbs_are_plain_too(cli):
    assert "<regu" not in cli("plugins", "new", "--help").stdout


def test_help_does_without_torch():
    code = (
        "import sys\nfrom transferkit.cli import main\n"
        "try: main(['predict', '--help'])\nexcept SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'timm' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
