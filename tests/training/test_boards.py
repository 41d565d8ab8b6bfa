"""Threads of TensorBoard fail without a traceback, all others as ever; and only while they are asked to."""

from __future__ import annotations

import threading

import pytest
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from transferkit.training.boards import Board, failing_quietly


class Failing(threading.Thread):
    def run(self):
        raise OSError("no space left")


class OfTensorBoard(Failing):
    __module__ = "tensorboard.summary.writer.event_file_writer"


@pytest.fixture
def told(monkeypatch):
    names = []
    monkeypatch.setattr(threading, "excepthook", lambda failed: names.append(type(failed.thread).__name__))
    return names


def fail(*kinds):
    for kind in kinds:
        thread = kind()
        thread.start()
        thread.join()


def test_only_tensorboards_and_only_inside(told):
    before = threading.excepthook
    with failing_quietly():
        fail(Failing, OfTensorBoard)
    assert told == ["Failing"] and threading.excepthook is before
    fail(OfTensorBoard)
    assert told == ["Failing", "OfTensorBoard"]


def test_the_hook_comes_back_after_an_error(told):
    before = threading.excepthook
    with pytest.raises(RuntimeError), failing_quietly():
        raise RuntimeError
    assert threading.excepthook is before


def test_tensorboards_threads_are_called_so(tmp_path):
    writer = EventFileWriter(str(tmp_path))
    assert type(writer._async_writer._worker).__module__.startswith("tensorboard.")
    writer.close()


def test_importing_changes_no_hook():
    import subprocess
    import sys

    code = (
        "import threading; hook = threading.excepthook; import transferkit.training.pictures, "
        "transferkit.analysis.auditing, transferkit.training.boards; assert threading.excepthook is hook"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_board_writes_and_one_that_fails_is_given_up(tmp_path, monkeypatch):
    told = []
    board = Board(tmp_path / "tb", told.append)
    board.close()
    assert not (tmp_path / "tb").exists()  # begun with the first number
    board.add_scalar("a", 0.5, 3)
    board.add_text("b", "words", 3)
    board.close()
    (events,) = (tmp_path / "tb").iterdir()
    assert b"words" in events.read_bytes() and not told

    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter", full)
    other = Board(tmp_path / "other", told.append)
    for _ in range(3):
        other.add_scalar("a", 0.5, 3)
    other.close()
    assert told == ["TensorBoard gets nothing more of the analyses: [Errno 28] No space left on device"]
