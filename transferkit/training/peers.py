"""Several processes of one run: each says every second that it lives, and hears from every other.

Without this a process that hangs stops all others for ever, and one that dies ends them with the words of a
network library. It is the process that is watched, not how long a step takes: while one evaluates or analyses, its
heartbeat goes on. Off for one process.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from transferkit.errors import Interrupted, TransferkitError
from transferkit.system.signals import Stopped, StopSignal
from transferkit.words.kinds import reason

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

BEAT = 1.0  # seconds
SILENCE = 30.0  # seconds until a process counts as hanging
GRACE = 10.0  # seconds that a process has to notice by itself that another one has left
PATIENCE = timedelta(hours=12)  # for one process that works while others wait, such as for an analysis on a schedule


class LostProcess(TransferkitError):
    """Another process of the run died, hangs, or failed first."""

    def __init__(self, message: str, *, speaks: bool = False) -> None:
        super().__init__(message)
        self.speaks = speaks  # whether this is the first of the processes that are left


class Peers:
    """The other processes. Values in the launcher's store: `beat COUNT PLACE`, and at the end `left CODE WORDS`."""

    def __init__(self, store: Store, rank: int, count: int, stop: StopSignal, advice: str) -> None:
        self._store, self.rank, self._stop, self._advice = store, rank, stop, advice
        self._others = [other for other in range(count) if other != rank]
        self._count = count
        self._place = f"process {os.getpid()} on {socket.gethostname()}"
        self._beats = 0
        self._heard: dict[int, tuple[str, float]] = {other: ("", time.monotonic()) for other in self._others}
        self._lock = threading.Lock()  # one connection, two threads
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peers", daemon=True)
        self._listen()
        self._thread.start()

    def leave(self, code: int, words: str) -> None:
        """Tell the others that this process ends, and how."""
        self._over.set()
        self._thread.join(2 * BEAT)
        with suppress(Exception), self._lock:
            self._store.set(str(self.rank), f"left {code} {words}")

    def lost(self) -> Interrupted | LostProcess | None:
        """After something failed: the process that is to blame, if another one has left or is silent."""
        waiting, until = set(self._others), time.monotonic() + 3 * BEAT
        before: dict[int, tuple[str, float]] | None = None
        while waiting and time.monotonic() < until:
            with suppress(Exception):
                self._listen()
            before = before or dict(self._heard)  # it may have beaten once more before it ended
            for other in list(waiting):
                value = self._heard[other][0]
                if value.startswith("left "):
                    _, code, words = value.split(" ", 2)
                    if int(code):
                        return self._named(other, f"ended first: {words}", int(code))
                if value != before[other][0]:
                    waiting.discard(other)
            time.sleep(BEAT / 10)
        if not waiting:
            return None
        text = self._text(min(waiting), "ended without a word: it was killed, or out of memory")
        return LostProcess(text, speaks=waiting.issuperset(range(self.rank)))

    # -- in its own thread ------------------------------------------------------------------------------------

    def _watch(self) -> None:
        answered = time.monotonic()
        while not self._over.wait(BEAT):
            try:
                self._listen()
                answered = time.monotonic()
            except Exception:  # whatever the store raises: it is not there, or does not answer
                if time.monotonic() - answered > SILENCE:
                    self._end(TransferkitError("the process that keeps the others together does not answer"))
                continue
            for other, (value, when) in self._heard.items():
                silent = time.monotonic() - when
                if value.startswith("left "):
                    _, code, words = value.split(" ", 2)
                    if int(code) and silent > GRACE:
                        self._end(self._named(other, f"ended first: {words}", int(code)))
                elif silent > SILENCE:
                    self._end(self._named(other, f"has not been heard of for {silent:.0f} s: it hangs, or is gone"))

    def _listen(self) -> None:
        """Say that this one lives, and hear from the others."""
        with self._lock:
            self._beats += 1
            self._store.set(str(self.rank), f"beat {self._beats} {self._place}")
            now = time.monotonic()
            for other in self._others:
                if self._store.check([str(other)]):
                    value = self._store.get(str(other)).decode("utf-8", "replace")
                    if value != self._heard[other][0]:
                        self._heard[other] = value, now

    def _named(self, other: int, what: str, code: int = 1) -> Interrupted | LostProcess:
        text = self._text(other, what)
        return Interrupted(text, code - 128) if code > 128 else LostProcess(text)

    def _text(self, other: int, what: str) -> str:
        place = self._heard[other][0].split(" ", 2)[-1] if self._heard[other][0].startswith("beat") else ""
        return f"rank {other} of {self._count}{f' ({place})' if place else ''} {what}"

    def _end(self, error: TransferkitError) -> None:
        """End this process from here: the main thread may wait for the lost one for ever."""
        silent = [other for other, (_, when) in self._heard.items() if time.monotonic() - when > SILENCE / 2]
        if all(other in silent for other in range(self.rank)):  # one speaks for all
            print(error, self._advice, sep="\n", file=sys.stderr, flush=True)
        self._stop.end(error.exit_code, "stopped" if isinstance(error, Interrupted) else "failed", str(error))


_peers: Peers | None = None


@contextmanager
def watched(processes: int, rank: int, stop: StopSignal, advice: str, warn: Callable[[str], None]) -> Iterator[None]:
    """Inside, this process is watched by the others of its run, and watches them; `advice` is what to do then."""
    global _peers
    if processes == 1:
        yield
        return
    try:
        _peers = Peers(_open_store(), rank, processes, stop, advice)
    except (RuntimeError, KeyError) as error:
        warn(f"a process that hangs will not be noticed: the launcher's store cannot be reached ({reason(error)})")
        yield
        return
    code, words = 0, ""
    try:
        yield
    except BaseException as error:
        code, words = getattr(error, "exit_code", 1), str(error) or reason(error)
        raise
    finally:
        with stop.held():
            _peers.leave(code, words)
        _peers = None


def explained(error: BaseException) -> BaseException:
    """The error, or the loss of another process that it is the consequence of."""
    stopped = isinstance(error, Interrupted | Stopped)
    if _peers is None or (isinstance(error, TransferkitError) and not stopped):
        return error
    found = _peers.lost()
    return error if found is None or (stopped and isinstance(found, Interrupted)) else found


def _open_store() -> Store:
    """A connection of its own to the store that the processes met at: the other one may be waiting."""
    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return PrefixStore(
        f"transferkit/alive/{attempt}",
        TCPStore(host, port, is_master=False, timeout=timedelta(seconds=10), wait_for_workers=False),
    )
