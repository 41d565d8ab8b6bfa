from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from transferkit.training.signals import Interrupting, StopSignal


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_sets_the_flag_and_nothing_else(number: int) -> None:
    before = signal.getsignal(number)
    with StopSignal().watching() as stop:
        assert not stop
        os.kill(os.getpid(), number)
        assert stop
        assert stop.number == number
    assert signal.getsignal(number) == before


def test_a_second_signal_ends_at_once() -> None:
    code = (
        "import os, signal; from transferkit.training.signals import StopSignal\n"
        "with StopSignal().watching():\n"
        "    os.kill(os.getpid(), signal.SIGTERM); os.kill(os.getpid(), signal.SIGTERM)\n"
        "    raise SystemExit(0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 143


def test_other_threads_leave_the_handlers_alone() -> None:
    seen = []

    def inside() -> None:
        with StopSignal().watching() as stop:
            seen.append(bool(stop))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert seen == [False]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_work_without_a_loop_of_ours_is_interrupted_at_once(number: int) -> None:
    with Interrupting().watching() as stop:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        assert stop.number == number
