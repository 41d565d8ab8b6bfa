"""Every line once: half-written ones, logs that are renamed, emptied or copied, and watchers that start anew."""

from __future__ import annotations

import os
import shutil

import pytest

from transferkit.deploy.log_tail import LogTail
from transferkit.errors import InputError


@pytest.fixture
def log(tmp_path):
    return tmp_path / "requests.jsonl"


def append(path, text):
    with path.open("a", newline="") as file:
        file.write(text)


def read(tail, **how):
    return [line.rstrip("\n") for line in tail.lines(**how)]


def test_each_whole_line_once(log):
    append(log, "one\ntwo\nthr")
    tail = LogTail(log)
    assert read(tail) == ["one", "two"] and read(tail) == []
    append(log, "ee\n")
    assert read(tail) == ["three"]


def test_the_last_line_may_have_no_end(log):
    append(log, "one\ntwo")
    assert read(LogTail(log), to_the_end=True) == ["one", "two"]


def test_a_log_that_is_renamed_is_read_to_its_end(log):
    append(log, "one\n")
    tail = LogTail(log)
    read(tail)
    log.rename(log.with_name("requests.jsonl.1"))
    assert read(tail) == []
    append(log.with_name("requests.jsonl.1"), "two\nthr")  # the writer has it open still
    assert read(tail) == ["two"]
    log.touch()
    append(log.with_name("requests.jsonl.1"), "ee\n")
    assert read(tail) == ["three"]
    append(log, "four\n")
    assert read(tail) == ["four"] and tail.lost == 0


def test_a_log_that_is_emptied_begins_anew(log):
    append(log, "one\ntwo\n")
    tail = LogTail(log)
    read(tail)
    log.write_text("")
    assert read(tail) == []
    append(log, "three\n")
    assert read(tail) == ["three"]


def test_a_log_that_is_emptied_and_grew_beyond_is_known_by_its_first_bytes(log):
    append(log, "one\ntwo\n")
    tail = LogTail(log)
    read(tail)
    log.write_text("three\nfour\nfive\n")
    assert read(tail) == ["three", "four", "five"]


@pytest.mark.parametrize("aside", [1, 3])
def test_another_goes_on_over_several_rotations(log, aside):
    append(log, "one\n")
    tail = LogTail(log)
    read(tail)
    append(log, "two\n")
    tail.close()
    expected = ["two"]
    for number in range(aside):
        for older in range(number, 0, -1):
            log.with_name(f"{log.name}.{older}").rename(log.with_name(f"{log.name}.{older + 1}"))
        log.rename(log.with_name(f"{log.name}.1"))
        os.utime(log.with_name(f"{log.name}.1"), (1000 + number, 1000 + number))
        append(log, f"new {number}\n")
        expected.append(f"new {number}")
    (log.parent / "requests.jsonl.state").write_text("no log\n")
    later = LogTail(log, tail.left)
    assert read(later) == expected and later.lost == 0


def test_a_copy_that_was_put_aside_is_known_too(log):
    append(log, "one\n")
    tail = LogTail(log)
    read(tail)
    tail.close()
    append(log, "two\n")
    shutil.copy(log, log.with_name(f"{log.name}-20261120"))
    log.write_text("three\n")
    assert read(LogTail(log, tail.left)) == ["two", "three"]


def test_what_is_gone_is_counted(log):
    append(log, "one\n")
    tail = LogTail(log)
    read(tail)
    tail.close()
    log.write_text("other\n")
    later = LogTail(log, tail.left)
    assert read(later) == ["other"] and later.lost == 1


def test_a_log_must_be_there(log):
    with pytest.raises(InputError, match=r"requests\.jsonl: cannot be read"):
        read(LogTail(log))


def test_bytes_that_are_no_text_and_endless_lines_stop_nothing(log):
    log.write_bytes(b"\xff\xfe\n" + b"x" * (1 << 20) + b"y\nlast\n")
    lines = read(LogTail(log))
    assert lines[0] == "��" and lines[-1] == "last" and len(lines) == 4
