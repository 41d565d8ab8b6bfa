from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from transferkit.errors import Interrupted
from transferkit.system import signals
from transferkit.system.signals import Stopped, check, stoppable, watching
from transferkit.training.progress import Display

NUMBERS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])


@NUMBERS
def test_the_first_signal_raises_at_once(number: int) -> None:
    before = signal.getsignal(number)
    with watching() as stop:
        assert not stop
        with pytest.raises(Stopped) as stopped:
            os.kill(os.getpid(), number)
        assert stopped.value.number == stop.number == number
    assert signal.getsignal(number) == before


@NUMBERS
def test_what_is_held_goes_on_and_the_next_unit_of_work_raises(number: int) -> None:
    with watching() as stop:
        with stop.held():
            os.kill(os.getpid(), number)
            check()
            with pytest.raises(Stopped), stop.released():
                raise AssertionError("a signal that was held is raised where it may be")
        assert stop.number == number
        with pytest.raises(Stopped), Display(quiet=True).task(3, "reading") as bar:
            bar.advance()


def test_a_swallowed_signal_is_raised_again() -> None:
    """Python drops what is raised in a finalizer; a plugin may have a bare `except`."""
    reading = pytest.raises(Interrupted, match="stopped while reading")
    with reading, stoppable("reading"), contextlib.suppress(BaseException):
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_in_a_finalizer_is_not_shown_and_raised_again(capfd) -> None:
    class Held:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    before = sys.unraisablehook
    with pytest.raises(Interrupted, match="stopped while reading"), stoppable("reading"):
        held = Held()
        del held
    assert "Traceback" not in capfd.readouterr().err and sys.unraisablehook is before


def test_nohup_goes_on() -> None:
    code = (
        "import os, signal\n"
        "from transferkit.system.signals import watching\n"
        "with watching() as stop: os.kill(os.getpid(), signal.SIGHUP)\n"
        "print(stop.number)\n"
    )
    command = ["nohup", sys.executable, "-c", code]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


def test_the_innermost_phase_speaks_and_nested_it_is_one_signal() -> None:
    counting = pytest.raises(Interrupted, match="stopped while counting")
    with counting as stopped, stoppable("reading") as outer, stoppable("counting") as inner:
        assert inner is outer
        os.kill(os.getpid(), signal.SIGINT)
    assert stopped.value.exit_code == 130


SECOND = """
import os, signal, time
from transferkit.system.signals import watching
with watching() as stop, stop.last_words(lambda status, error: os.write(1, status.encode())), stop.held():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.01)
    os.kill(os.getpid(), {number})
    {work}
"""


@pytest.mark.parametrize("work", ["time.sleep(60)", "sum(range(10**12))"], ids=["waiting", "inside C code"])
def test_a_second_signal_ends_at_once_with_the_last_words(work: str) -> None:
    code = SECOND.format(number=int(signal.SIGINT), work=work)
    if "sum" in work:  # C code that holds the interpreter; ctypes lets go of it, as torch does
        code = code.replace(work, "import ctypes; ctypes.CDLL(None).sleep(60)")
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, timeout=20)
    assert (done.returncode, done.stdout) == (130, b"stopped")
    assert done.stderr in (b"", ANSWER.encode())  # the second came ten milliseconds after the first


ANSWER = "finishing what must not be torn; again to leave now\n"


def said_after(capfd, words: str, seconds: float = 5.0) -> str:
    """What standard error says, as soon as these words are among it, or after a time."""
    said, until = "", time.monotonic() + seconds
    while words not in said and time.monotonic() < until:
        time.sleep(0.01)
        said += capfd.readouterr().err
    return said


def test_what_is_held_is_answered_at_once_with_what_has_to_end(capfd) -> None:
    with watching() as stop, stop.held("finishing this step, then saving"):
        with stop.doing("finishing this batch, then saving"):
            os.kill(os.getpid(), signal.SIGINT)
            assert said_after(capfd, "\n") == "finishing this batch, then saving; again to leave now\n"
        with stop.held():  # closing things after it
            pass
        with stop.held("drawing the report of what there is"):
            pass
    assert capfd.readouterr().err == "drawing the report of what there is; again to leave now\n"


def test_what_ends_at_once_speaks_for_itself(capfd, monkeypatch) -> None:
    monkeypatch.setattr(signals, "PATIENCE", 0.05)
    with pytest.raises(Interrupted), stoppable("reading"):
        os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.2)
    assert capfd.readouterr().err == ""


def test_a_library_that_does_not_come_back_is_answered_for() -> None:
    code = (
        "import ctypes, os, signal\n"
        "from transferkit.system.signals import watching\n"
        "with watching():\n"
        "    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})\n"  # so that another thread takes it
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    ctypes.CDLL(None).usleep(900_000)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=20)
    assert done.returncode != 0
    assert done.stderr.startswith("stopping; again to leave now\nTraceback")


def test_a_child_leaves_signals_to_its_parent() -> None:
    code = (
        "import os, signal, time\n"
        "from transferkit.system.signals import watching\n"
        "with watching() as stop, stop.held():\n"
        "    child = os.fork()\n"
        "    if not child: os.kill(os.getpid(), signal.SIGINT); time.sleep(0.1); os._exit(7)\n"
        "    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"  # the first one for this process
        "    time.sleep(0.1)\n"
        "print(stop.number)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr


def test_other_threads_leave_the_handlers_alone() -> None:
    seen = []

    def inside() -> None:
        with watching() as stop:
            seen.append(bool(stop))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert seen == [False]
