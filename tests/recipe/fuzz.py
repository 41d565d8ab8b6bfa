"""Seeded mutations of recipes: what hands, editors, encodings and hostile people do to a file."""

from __future__ import annotations

import random
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "recipes"
PIECES = [
    "[", "]", "{", "}", '"', "'", ":", ": ", "- ", "#", "|", ">", "&a ", "*a", "*", "!", "%", "@", "`", ",", "?", "\\",
    "\t", "\n", "\r\n", "\r", "\x00", "\x07", "\x1b[31m", "\ufeff", "\u2028", "\x85", "é", "e\u0301", "\u202e", "…",
    "---\n", "...\n", "<<: *a\n", "<<: {a: 1}\n", "? [a]\n: b\n", "~", "null", "true", "on", "010", "-1", "0", "1e999",
    ".nan", "-.inf", "9" * 30, "9" * 5000, "0" + "9" * 5000, "0x" + "f" * 5000, "1" * 99, "-" + "7" * 400, "1e-400",
    "!!python/object:os.system x", "!!binary xx", "!!set {a}", "!!int many", "!!float x", "!!str", "!!map", "!x ",
    '"\\0"', '"\\ud800"', '"\\x1b[2J"', '"' + "x" * 5000 + '"', "~nobody/x", "/dev/zero", "../" * 50, "/root/x",
    "a/" * 300, "=", "transferkit:bss", ":", "x:bss", "[[[[", "[" * 200, "{a: " * 200, "{use: bss, weight: 1}",
    "extends: r.yaml\n", "extends: [a, 1]\n", "extends: .\n", "preset: x\n", "presets: 3\n", "presets: {a: {b: 1}}\n",
    "name: x\n", "stages: {}\n", "stages: [1]\n", "datasets: []\n", "model: x\n", "analyses: {a: {}}\n",
]  # fmt: skip


def mutated(text: str, rng: random.Random) -> bytes:
    """The text with one to three mutations, as bytes: now and then in another encoding, or no text at all."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        text = rng.choice(MUTATIONS)(text, rng)
    if rng.random() < 0.03:
        return text.encode(rng.choice(("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "utf-7")), "surrogatepass")
    content = text.encode("utf-8", "surrogatepass")
    if rng.random() < 0.05 and content:
        at = rng.randrange(len(content))
        content = content[:at] + bytes([rng.randrange(256)]) + content[at + rng.randrange(2) :]
    return content


def _insert(text: str, rng: random.Random) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + rng.choice(PIECES) + text[at:]


def _replace_value(text: str, rng: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    places = [index for index, line in enumerate(lines) if ": " in line]
    if places:
        index = rng.choice(places)
        lines[index] = lines[index].partition(": ")[0] + ": " + rng.choice(PIECES) + "\n"
    return "".join(lines)


def _replace_scalar(text: str, rng: random.Random) -> str:
    """One word or number becomes another piece or another word of the recipe."""
    words = [(at, word) for word in set(text.split()) if (at := text.find(word)) >= 0]
    if not words:
        return text
    at, word = rng.choice(sorted(words))
    new = rng.choice(PIECES) if rng.random() < 0.5 else rng.choice(sorted(words))[1]
    return text[:at] + new + text[at + len(word) :]


def _delete(text: str, rng: random.Random) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + text[at + rng.choice((1, 1, 1, 2, 5, 40)) :]


def _truncate(text: str, rng: random.Random) -> str:
    return text[: rng.randrange(len(text) + 1)] + rng.choice(("", "\n"))


def _line(text: str, rng: random.Random) -> str:
    """A line is deleted, doubled, moved or indented otherwise."""
    lines = text.splitlines(keepends=True) or [""]
    index = rng.randrange(len(lines))
    line = lines.pop(index)
    kind = rng.randrange(5)
    if kind == 0:
        return "".join(lines)
    if kind == 1:
        lines[index:index] = [line, line]
    elif kind == 2:
        lines.insert(rng.randrange(len(lines) + 1), line)
    else:
        lines.insert(index, (" " * rng.randrange(1, 5) + line) if kind == 3 else line.lstrip(" "))
    return "".join(lines)


def _anchors(text: str, rng: random.Random) -> str:
    """Aliases that unfold without end, or to a depth without end."""
    if rng.random() < 0.5:
        bomb = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
        bomb += "".join(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]\n" for i in range(rng.randrange(1, 9)))
    else:
        bomb = "b0: &b0 [1]\n" + "".join(f"b{i + 1}: &b{i + 1} [*b{i}]\n" for i in range(rng.choice((5, 90, 2000))))
    return bomb + text if rng.random() < 0.5 else text + "\n" + bomb


def _ends(text: str, rng: random.Random) -> str:
    return text.replace("\n", rng.choice(("\r\n", "\r", "\n\t", "\n\n", "\u2028", " ")))


def _twice(text: str, rng: random.Random) -> str:
    return text + rng.choice(("", "---\n", "...\n---\n")) + text


def long_line(text: str, length: int) -> str:
    """The recipe with one value of that length."""
    return f"{text}description: {'x' * length}\n"


MUTATIONS = [
    *[_insert, _replace_value, _replace_scalar, _delete, _truncate, _line] * 6, _anchors, _ends, _ends, _twice,
]  # fmt: skip


def override(text: str, rng: random.Random) -> str:
    """An argument of the command line, more or less: an address of the recipe, and a value."""
    keys = sorted({word.strip(" -{,") for word in text.replace("\n", ",").split(":")[:-1] for word in word.split(",")})
    steps = [rng.choice((*keys, "0", "1", "-1", "²", "9" * 5000, "stages", "target", "", "[0]", "bss", "a b"))]
    steps += [rng.choice((*keys, "0", "stages", "regularizers", "model", "name")) for _ in range(rng.randrange(4))]
    sign = rng.choice(("", "", "", "+", "~", "+~", " "))
    equals = rng.choice(("=", "=", "=", "", "==", " = "))
    value = rng.choice((*PIECES, *keys)) if rng.random() < 0.8 else rng.choice(PIECES) + rng.choice(PIECES)
    return sign + rng.choice((".", ".", "..", "[0].")).join(steps) + equals + value
