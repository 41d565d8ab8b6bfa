"""YAML 1.2 scalars, positions and errors."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from transferkit.errors import InputError
from transferkit.recipe import yaml
from transferkit.recipe.tree import Mark

START = Mark("r.yaml", 1, 1, Path())


def plain(text: str):
    return yaml.parse(text, START).plain()


def refused(text: str) -> str:
    with pytest.raises(InputError) as error:
        yaml.parse(text, START)
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        (".5", 0.5),
        ("5.", 5.0),
        ("-3", -3),
        ("+4", 4),
        ("0", 0),
        ("0x1f", 31),
        ("0o17", 15),
        ("0.10", 0.1),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("on", "on"),
        ("no", "no"),
        ("yes", "yes"),
        ("y", "y"),
        ("12:30:45", "12:30:45"),
        ("2026-11-20", "2026-11-20"),
        ("1_000", "1_000"),
        ("1.2.3", "1.2.3"),
        ("e5", "e5"),
        ("'010'", "010"),
        ("!!str 12", "12"),
        ("!!float 12", 12.0),
    ],
)
def test_scalars(text, value):
    found = plain(f"key: {text}")["key"]
    assert found == value and type(found) is type(value)


def test_not_a_number():
    assert math.isnan(plain("a: .nan")["a"])


@pytest.mark.parametrize(
    "value",
    ["1e-3", "on", "010", "0x1f", ".5", "null", "~", "", "true", "12:30", "a: b", "*x", "- a", "é", "a\nb", "1e5", "="],
)
def test_text_survives_a_dump(value):
    assert plain(yaml.dump({"a": [value], value or "k": 1})) == {"a": [value], value or "k": 1}


@pytest.mark.parametrize("value", [1e-5, 1e22, 0.1, -0.0, math.inf, 3, -7, True, None, [], {}, [[1], {"a": []}]])
def test_values_survive_a_dump(value):
    assert plain(yaml.dump({"a": value})) == {"a": value}
    assert plain(f"a: {yaml.flow(value)}") == {"a": value}


def test_keys_are_text():
    assert plain("on: 1\n010: 2\nnull: 3\n1.5: 4\n") == {"on": 1, "010": 2, "null": 3, "1.5": 4}


def test_every_key_and_value_has_a_place():
    root = yaml.parse("a:\n  b: [x, {c: 1}]\n", START)
    places = {path: root.find(path) for path in (("a", "b"), ("a", "b", 1, "c"))}
    marks = {path: (str(node.key), str(node.mark)) for path, node in places.items()}
    assert marks[("a", "b")] == ("r.yaml:2:3", "r.yaml:2:6")
    assert marks[("a", "b", 1, "c")] == ("r.yaml:2:11", "r.yaml:2:14")


def test_all_duplicates_and_ambiguous_numbers_at_once():
    text = refused("a: 1\nb: {c: 1, c: 2}\na: 010\n")
    assert 'r.yaml:2:11  the key "c" is given twice, first at line 2' in text
    assert 'r.yaml:3:1  the key "a" is given twice, first at line 1' in text
    assert "r.yaml:3:4  010 begins with a zero" in text


@pytest.mark.parametrize("text", ["a:\n\tb: 1\n", "a: 1\nb:\n  c: 1\n\td: 2\n", "a:\tb\n", "a:\n  - x\n\t- y\n"])
def test_tabs(text):
    assert "a tab stands here, where YAML allows only spaces" in refused(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2\nb: 3\n", "a bracket or brace is not closed"),
        ("a: b: c\n", 'text that contains ": " needs quotes'),
        ("a:\n  b: 1\n c: 2\n", "must begin in the same column"),
        ("a: 1\n---\nb: 2\n", "a second document starts here"),
        ("a: !!python/object:os.system x\n", 'the tag "!!python/object:os.system" is not allowed'),
        ("a: *weight\n", "text that begins with * or & needs quotes"),
        ("a: &x {b: *x}\n", "an alias (*name) contains itself"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", "use extends: to build on another recipe"),
        ("? [a]\n: 1\n", "a key must be a single word or text"),
        ("a: \x07\n", "r.yaml:1:1  the character U+0007 is not allowed"),
        ("[" * 500, "the values are nested too deeply"),
        ("a: !!int many\n", "many is not a number that can be read"),
    ],
)
def test_what_is_not_allowed(text, message):
    assert message in refused(text)


def test_an_alias_is_a_copy():
    assert plain("a: &x {b: 1}\nc: *x\n") == {"a": {"b": 1}, "c": {"b": 1}}


def test_alias_bombs_are_bounded():
    text = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    for before, after in zip("abcdefg", "bcdefgh", strict=True):
        text += f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n"
    assert "unfold to more than 20,000 values" in refused(text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "r.yaml  the file is empty"),
        (b"# only a comment\n", "r.yaml  the file is empty"),
        (b"- a\n- b\n", "r.yaml:1:1  a recipe is a mapping"),
        (b"a: 1\nb: \xff\n", "r.yaml:2:1  is not UTF-8 text"),
        (b"a" * 1_000_001, "which is too much for a recipe"),
    ],
)
def test_files(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_bytes(content)
    with pytest.raises(InputError) as error:
        yaml.read(Path("r.yaml"))
    assert message in str(error.value)


def test_no_file_and_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"r\.yaml  there is no such file"):
        yaml.read(Path("r.yaml"))
    with pytest.raises(InputError, match="is a folder; a recipe is a YAML file"):
        yaml.read(tmp_path)


def test_a_byte_order_mark_is_no_problem(tmp_path):
    (tmp_path / "r.yaml").write_bytes(b"\xef\xbb\xbfname: x\n")
    assert yaml.read(tmp_path / "r.yaml").plain() == {"name": "x"}


def test_paths_are_shown_as_they_are_known(tmp_path, monkeypatch):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "r.yaml").write_text("a: 010\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^below/r.yaml:1:4  010"):
        yaml.read(tmp_path / "below" / "r.yaml")
    monkeypatch.chdir(tmp_path / "below")
    with pytest.raises(InputError, match=r"^\.\./below/r.yaml:1:4  010|^r.yaml:1:4"):
        yaml.read(Path("../below/r.yaml"))
