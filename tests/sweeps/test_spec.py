"""What is wrong in a sweep file is said with its place."""

from __future__ import annotations

import pytest

from transferkit.errors import InputError
from transferkit.sweeps.spec import read_sweep, recipe_of

HEAD = "name: s\nrecipe: r.yaml\n"


def read(tmp_path, text):
    (tmp_path / "s.yaml").write_text(text)
    return read_sweep(tmp_path / "s.yaml")


def test_a_whole_one(tmp_path):
    text = HEAD + "seeds: [3, 5]\nvariants: {a: {}, b: {stages.t.epochs: 2}}\nbaseline: b\ngrid: {seed2: [1, 2]}\n"
    found = read(tmp_path, text)
    assert found.every_seed == [3, 5] and found.variants["b"] == {"stages.t.epochs": 2}
    assert recipe_of(found, tmp_path / "s.yaml") == tmp_path / "r.yaml"
    assert read(tmp_path, HEAD + "seeds: 3").every_seed == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("recipe: r.yaml\n", r"s.yaml:1:1  name: is missing"),
        (HEAD + "varaints: {}\n", r"s.yaml:3:1  varaints: there is no such key.*variants"),
        (HEAD + "baseline: x\nvariants: {a: {}}\n", 'there is no variant called "x"'),
        (HEAD + "grid: {a: []}\n", "a list without values leaves no cell"),
        (HEAD + "seeds: [1, 1]\n", "each once"),
        (HEAD + "seeds: 0\n", r"s.yaml:3:8"),
        (HEAD + "search: {space: {a: {low: 2, high: 1}}, trials: 3}\n", "low must be below high"),
        (HEAD + "search: {space: {a: {low: 0, high: 1, log: true}}, trials: 3}\n", "log needs a low above 0"),
        (HEAD + "search: {space: {a: {low: 0.1, high: 0.9, whole: true}}, trials: 3}\n", "no whole number"),
        (HEAD + "search: {space: {a: {choices: [1]}}, trials: 3}\nvariants: {a: {}}\n", "search stands alone"),
        (HEAD + "search: {space: {a: {choices: [1]}}, trials: 3, metric: analyses.x.y, prune: true}\n", "prune: only"),
        ("name: s\nrecipe: r.yaml\nvariants: [\n", "s.yaml:3"),
        ("", "empty"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path, monkeypatch, text, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"(?s){said}"):
        read(tmp_path, text)
