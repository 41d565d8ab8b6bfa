"""A stranger's code leaves the process as it was, and what it raises has a name."""

from __future__ import annotations

import locale
import os
import signal
import subprocess
import sys
import warnings

import pytest

from transferkit.errors import InputError
from transferkit.plugins.contained import contained, told
from transferkit.system.signals import Stopped


def test_the_process_is_as_before(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = os.getcwd(), sys.excepthook, sys.argv, sys.stdout, locale.setlocale(locale.LC_ALL), list(warnings.filters)
    with contained():
        assert sys.argv == before[2][:1]
        os.chdir("/")
        sys.excepthook = print
        sys.stdout = None
        locale.setlocale(locale.LC_ALL, "C")
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "only this")
    after = os.getcwd(), sys.excepthook, sys.argv, sys.stdout, locale.setlocale(locale.LC_ALL), list(warnings.filters)
    assert after[:5] == before[:5]
    assert [one[0] for one in after[5] if one not in before[5]] == ["ignore"]


def test_a_working_folder_that_is_gone_is_no_obstacle(tmp_path):
    code = "import os; os.rmdir(os.getcwd())\n"
    code += "from transferkit.plugins.contained import contained\nwith contained(): print(1)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path / ".", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "1\n"), done.stderr


def test_no_standard_output_is_no_obstacle():
    code = "from transferkit.plugins.contained import contained\nwith contained(): print(1)"
    done = subprocess.run(["sh", "-c", f'exec "{sys.executable}" -c "{code}" >&-'], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(2), GeneratorExit(), InputError("said"), KeyError("k")])
def test_what_is_raised_is_blamed_on_its_owner(error):
    with pytest.raises(InputError, match=r"^the plugin: ") as caught, contained("the plugin"):
        raise error
    assert caught.value.__cause__ is error


def test_what_passes():
    with pytest.raises(KeyboardInterrupt), contained("the plugin"):
        raise KeyboardInterrupt
    with pytest.raises(Stopped), contained("the plugin"):  # a signal that comes meanwhile is not its fault
        raise Stopped(signal.SIGTERM)
    with pytest.raises(ValueError, match=r"^mine"), contained("the plugin", but=ValueError):
        raise ValueError("mine")
    with pytest.raises(SystemExit), contained():
        raise SystemExit


def test_an_exception_is_told_in_a_line():
    assert told(KeyError("k")) == "KeyError: 'k'"
    assert told(ValueError()) == "ValueError"
    assert told(InputError("a sentence")) == "a sentence"
    assert told(ValueError("\x1b[31m")) == r"ValueError: \x1b[31m"
    assert len(told(ValueError("x" * 10_000))) < 600
