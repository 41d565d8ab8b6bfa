"""What SIGTERM, Ctrl-C and a terminal that closes do, the same in every phase of every verb.

The first signal raises `Stopped` at once, wherever the main thread is: preparing, analyses, reports, predictions and
exports have nothing to tear, because every file is written aside and then moved. Inside `held` it is only noted: a
training step and a checkpoint end first, and whoever holds it asks for `number` when the state is whole. A second
signal ends the process at once, even while a library computes in C, after the last words of those who have any.

The first signal is answered on standard error with what still has to end: at once where it is held, and otherwise
only where the main thread does not come to raise it, which says more.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from transferkit.errors import Interrupted, OutOfMemory
from transferkit.system.memory import in_background

HANGUP = getattr(signal, "SIGHUP", None)  # of a terminal or connection that closed; not on Windows
SIGNALS = (signal.SIGTERM, signal.SIGINT, *([HANGUP] if HANGUP is not None else []))
ECHO = 2.0  # seconds in which a launcher of several processes may forward the Ctrl-C that they have had already
PATIENCE = 0.5  # seconds that a main thread may take until it raises
LastWords = Callable[[str, str | None], object]


class Stopped(BaseException):
    """The first signal. No Exception, so that nothing that expects failures takes it for one."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by signal {number}")
        self.number = number


TO_STOP = (KeyboardInterrupt, Stopped)
"""What passes through every net that is spread for the faults of strangers' code: nobody's fault, and the end."""


class StopSignal:
    """Whether someone asked this process to stop, and by which signal."""

    def __init__(self) -> None:
        self.number = 0
        self._held = 0
        self._raised = False
        self._meanwhile: list[str] = ["stopping"]
        self._words: list[LastWords] = []
        self._arrived: list[float] = []

    def __bool__(self) -> bool:
        return self.number != 0

    def check(self) -> None:
        """Raise Stopped if a signal came: once more where it was held, or where a finalizer swallowed it."""
        if self.number and not self._held:
            self._raised = True
            raise Stopped(self.number)

    @contextmanager
    def held(self, to_end: str | None = None) -> Iterator[None]:
        """Inside, a signal is only noted. Nothing is raised at the end; the next unit of work looks again.

        `to_end` is what is being done for people who wait for it to end: "finishing this step, then saving".
        """
        self._held += 1
        if to_end is not None and self.number:
            self._say(to_end)
        try:
            with self.doing(to_end or "finishing what must not be torn"):
                yield
        finally:
            self._held -= 1

    @contextmanager
    def doing(self, to_end: str) -> Iterator[None]:
        """Inside, this is what a signal that is held is answered with."""
        self._meanwhile.append(to_end)
        try:
            yield
        finally:
            self._meanwhile.pop()

    @contextmanager
    def released(self) -> Iterator[None]:
        """Within what is held: a part that has nothing to tear after all."""
        held, self._held = self._held, 0
        try:
            self.check()
            yield
        finally:
            self._held = held

    @contextmanager
    def phase(self, what: str) -> Iterator[None]:
        """Inside, a signal becomes Interrupted with the sentence "stopped while …"."""
        try:
            yield
            self.check()
        except Stopped as stopped:
            raise Interrupted(f"stopped while {what}", stopped.number) from None

    @contextmanager
    def last_words(self, words: LastWords) -> Iterator[None]:
        """Call `words(status, error)` when the process is ended from here: `stopped`, or `failed` with the reason."""
        self._words.append(words)
        try:
            yield
        finally:
            self._words.remove(words)

    def end(self, code: int, status: str, error: str | None = None) -> NoReturn:
        """End the process now, from any thread and whatever the main thread is doing."""
        for words in self._words[::-1]:
            with suppress(Exception):
                words(status, error)
        os._exit(code)

    def _answer(self) -> None:
        """In a thread of its own: say what the first signal waits for."""
        if not self._held:
            time.sleep(PATIENCE)
            if self._raised:
                return
        self._say(self._meanwhile[-1] if self._held else self._meanwhile[0])

    def _say(self, to_end: str) -> None:
        if os.environ.get("RANK", "0") == "0":  # of several processes one speaks
            with suppress(Exception):  # the terminal may be gone
                below = "\n" if sys.stderr.isatty() else ""  # the ^C that a terminal shows
                sys.stderr.write(f"{below}{to_end}; again to leave now\n")
                sys.stderr.flush()

    # -- arriving ---------------------------------------------------------------------------------------------

    def _receive(self, number: int, frame: FrameType | None) -> None:
        """In the main thread, as soon as it runs Python code."""
        if not self.number:
            self.number = number
            self.check()

    def _count(self, pipe: int) -> None:
        """In a thread of its own: the main thread may be inside a library when the second signal comes."""
        while received := os.read(pipe, 1):
            number = received[0]
            if number not in SIGNALS or signal.getsignal(number) != self._receive:
                continue  # someone else's for the moment, such as the server's
            now = time.monotonic()
            launched = int(os.environ.get("WORLD_SIZE", "1")) > 1
            if self._arrived and not (launched and now - self._arrived[0] < ECHO):
                self.end(128 + number, "stopped")
            self._arrived.append(now)
            if len(self._arrived) == 1:
                with suppress(OutOfMemory):  # the second signal is still to be counted
                    in_background(self._answer)
        os.close(pipe)

    def _listen(self) -> Callable[[], None]:
        """Start listening; returns what ends it."""
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        in_background(lambda: self._count(reading))
        wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        heard = [
            number for number in SIGNALS if number != HANGUP or signal.getsignal(number) == signal.SIG_DFL
        ]  # nohup
        previous = {number: signal.signal(number, self._receive) for number in heard}
        unraisable, sys.unraisablehook = sys.unraisablehook, _quietly(sys.unraisablehook)

        def end() -> None:
            sys.unraisablehook = unraisable
            for number, handler in previous.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(wakeup)
            os.close(writing)

        return end


def _quietly(hook: Callable[[sys.UnraisableHookArgs], object]) -> Callable[[sys.UnraisableHookArgs], object]:
    """The hook, which is not told of a signal that a finalizer swallowed: the next unit of work raises it again."""
    return lambda found: None if isinstance(found.exc_value, Stopped) else hook(found)


_current: StopSignal | None = None


@contextmanager
def watching(*, to_the_end: bool = False) -> Iterator[StopSignal]:
    """Listen while inside, or until the process is gone. Nested, it is the outer one.

    Only the main thread listens, because that is where Python delivers signals.
    """
    global _current
    if threading.current_thread() is not threading.main_thread():
        yield StopSignal()
        return
    if _current is not None:
        yield _current
        return
    stop = StopSignal()
    end = stop._listen()
    _current = stop
    try:
        yield stop
    finally:
        if not to_the_end:
            _current = None
            end()


@contextmanager
def stoppable(what: str) -> Iterator[StopSignal]:
    """Listen while inside, and say "stopped while …" where nobody inside does. Also a decorator."""
    with watching() as stop, stop.phase(what):
        yield stop


def check() -> None:
    """At a unit of work: raise Stopped if a signal came and nobody holds it."""
    if _current is not None and threading.current_thread() is threading.main_thread():
        _current.check()


def _leave_to_the_parent() -> None:
    """In a forked child: a signal to the whole group is the parent's to answer, which then ends its children."""
    global _current
    if _current is not None:
        _current = None
        with suppress(ValueError):
            signal.set_wakeup_fd(-1)
            for number in SIGNALS:
                signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)


os.register_at_fork(after_in_child=_leave_to_the_parent)
