"""A log watched with a `Monitor`: what was read of it, what is kept between calls, and what there is to say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferkit.deploy.log_lines import LineReader, is_entry, stripped
from transferkit.deploy.log_tail import LogTail
from transferkit.deploy.monitor import Alarm, Monitor
from transferkit.errors import InputError
from transferkit.report import write_json
from transferkit.system.atomic import read_json
from transferkit.system.records import check_version, require_file
from transferkit.words.formats import count, number, percent
from transferkit.words.kinds import reason

SCHEMA_VERSION = 1
ANEW = "remove it to begin anew"
DOUBTS = {
    "contrary": ("flag is", "flags are", "not what this model's threshold says: another version answered"),
    "other_model": ("answer is", "answers are", "another model's and left out"),
    "unknown": ("answer names", "answers name", "a class that this detector does not watch"),
    "skipped": ("line has", "lines have", "neither a score nor a flag and were left out"),
    "lost": ("time", "times", "the log was put aside where it is not found: what it held beyond was not read"),
}


@dataclass(frozen=True)
class Watched:
    """Whose answers are looked for: the reader for its detector, and the model's own name, None for anybody's."""

    read: LineReader
    model: str | None = None


class Watch:
    """Takes what is new in a log into a monitor; `doubts` counts the lines that were not as they should be."""

    def __init__(self, path: Path, monitor: Monitor, watched: Watched, state: Path | None = None) -> None:
        self.monitor = monitor
        self.doubts = dict.fromkeys(DOUBTS, 0)
        self._watched, self._state = watched, state
        left = None
        if state is not None and state.exists():
            left = self._restore(state)
        self._tail = LogTail(path, left)

    def take(self, *, to_the_end: bool = False) -> Iterator[Alarm]:
        """Read what is new; each alarm as it is given. `to_the_end` takes half a block and an unended line for whole.

        The state is written when all was read. Raises InputError where the log or the state cannot be.
        """
        before, lost = self.monitor.records, self._tail.lost
        for text in filter(is_entry, map(stripped, self._tail.lines(to_the_end=to_the_end))):
            line = self._watched.read(text)
            if line is None:
                self.doubts["skipped"] += 1
                continue
            if self._watched.model is not None and line.model not in (None, self._watched.model):
                self.doubts["other_model"] += 1
                continue
            self.doubts["contrary"] += line.contrary
            self.doubts["unknown"] += line.unknown
            yield from self.monitor.add(line)
        if to_the_end:
            yield from self.monitor.close_block()
        self.doubts["lost"] += self._tail.lost - lost
        if self._state is not None and (self.monitor.records != before or not self._state.exists()):
            self._save(self._state)

    def close(self) -> None:
        """Let go of the log."""
        self._tail.close()

    def _save(self, path: Path) -> None:
        content: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "model": self._watched.model}
        content |= {"log": self._tail.left, "doubts": self.doubts, "monitor": self.monitor.to_json()}
        write_json(path, content, indent=0)

    def _restore(self, path: Path) -> dict[str, Any]:
        require_file(path)
        content: dict[str, Any] = read_json(path, what=ANEW)
        check_version(content.get("schema_version"), SCHEMA_VERSION, "?", path)
        monitor = content.get("monitor")
        if not isinstance(monitor, dict):
            raise InputError(f"{path}: not the state of a watch; {ANEW}")
        if content.get("model") != self._watched.model or not self.monitor.belongs(monitor):
            raise InputError(f"{path}: of another model, or of other options of this command; {ANEW}")
        try:
            self.monitor.restore(monitor)
            self.doubts |= {name: int(content["doubts"][name]) for name in DOUBTS}
            left = content["log"]
            return {"offset": int(left["offset"]), "head": int(left["head"]), "sha256": str(left["sha256"])}
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: damaged ({reason(error)}); {ANEW}") from None


def sentences(monitor: Monitor, error: float, doubts: dict[str, int] | None = None) -> list[str]:
    """The first says whether, and since which record, the stream is not like the clean images."""
    found = [_first(monitor, error), *_more(monitor)]
    if monitor.records:
        rate, limit = monitor.rate, monitor.watched[0].rate
        ends = f"95 % interval that holds at all times: {percent(rate.low)} to {percent(rate.high)}"
        found.append(
            f"{monitor.flagged} of {count(monitor.records, 'answer')} were flagged: {percent(rate.value)} ({ends}); of "
            f"clean images at most {percent(limit)} are."
        )
    for name, number_of in (doubts or {}).items():
        if number_of:
            one, several, text = DOUBTS[name]
            found.append(f"{number_of} {one if number_of == 1 else several} {text}.")
    return found


def _first(monitor: Monitor, error: float) -> str:
    if not monitor.records:
        return "There is nothing to judge yet: the log has no answer."
    if not monitor.alarms:
        return (
            f"No alarm in {count(monitor.records, 'answer')}: nothing says that these images are not like the clean "
            f"ones of the calibration ({_nearest(monitor)})."
        )
    first = min(monitor.alarms, key=lambda one: one.record)
    chance = percent(error, 0 if error >= 0.01 else 2)
    return (
        f"ALARM: since about record {_at(first.since, first.since_time)} these images are not like the clean ones: "
        f"{_what(monitor, first)}, noticed at record {_at(first.record, first.time)}. "
        f"On clean images such an alarm is ever given with a chance of at most {chance}."
    )


def _more(monitor: Monitor) -> Iterator[str]:
    for one in sorted(monitor.alarms, key=lambda one: one.record)[1:]:
        what = _what(monitor, one)
        yield (
            f"{what[0].upper()}{what[1:]}: since about record {_at(one.since, one.since_time)}, noticed at record "
            f"{_at(one.record, one.time)}."
        )


def _what(monitor: Monitor, alarm: Alarm) -> str:
    known = next(one for one in monitor.watched if one.name == alarm.name)
    if alarm.name is None:
        return f"more are flagged than the {percent(known.rate)} that clean images allow"
    return f"{alarm.name} is the strongest source class of more than the {percent(known.rate)} that clean images allow"


def _nearest(monitor: Monitor) -> str:
    name, value, limit = max(
        ((one.name, value, one.limit) for one, value in zip(monitor.watched, monitor.evidence.values, strict=True)),
        key=lambda one: one[1] / one[2],
    )
    of = "" if name is None else f" of {name}"
    return f"the e-value{of} is {number(float(value), 2)}; an alarm is given at {number(limit, 3)}"


def _at(record: int, time: str | None) -> str:
    return f"{record}" if time is None else f"{record} ({time})"
