"""What is made up: images, JSON, recipes and arguments, each beginning as a real one that is changed a little."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image, features

ODD_TEXTS = st.sampled_from(
    [
        "",
        " ",
        "~",
        "null",
        "on",
        "1e999",
        ".nan",
        "../..",
        "/dev/zero",
        "a/" * 300,
        "é",
        "e\u0301",
        "\x1b[2J",
        "\ud800",
        "\x00",
    ]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.integers(-3, 300)
    | st.floats()
    | st.text(max_size=12)
    | ODD_TEXTS
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def mutated_bytes(originals: list[bytes]) -> st.SearchStrategy[bytes]:
    """One of them with up to six changes: a byte, a number of four bytes, a part lost, doubled or put elsewhere."""

    @st.composite
    def changed(draw: st.DrawFn) -> bytes:
        content = bytearray(draw(st.sampled_from(originals)))
        for _ in range(draw(st.integers(1, 6))):
            place = draw(st.integers(0, max(0, len(content) - 1)))
            length = draw(st.integers(1, 64))
            kind = draw(st.sampled_from(["byte", "number", "lose", "end", "double", "insert"]))
            if kind == "byte":
                content[place : place + 1] = bytes([draw(st.integers(0, 255))])
            elif kind == "number":
                number = draw(st.sampled_from([0, 1, 0x7F, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF]))
                content[place : place + 4] = number.to_bytes(4, draw(st.sampled_from(["big", "little"])))
            elif kind == "lose":
                del content[place : place + length]
            elif kind == "end":
                del content[place:]
            elif kind == "double":
                content[place:place] = content[place : place + length]
            else:
                content[place:place] = draw(st.binary(min_size=1, max_size=16))
        return bytes(content)

    return changed()


def small_images() -> list[bytes]:
    """Images of every format and several modes, of a few hundred bytes each."""
    pixels = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    colour = Image.fromarray(pixels)
    orientation = Image.Exif()
    orientation[0x0112] = 6
    made = [
        (colour, "JPEG", {"exif": orientation}),
        (colour, "JPEG", {"progressive": True, "quality": 60}),
        (colour.convert("L"), "JPEG", {}),
        (colour.convert("CMYK"), "JPEG", {}),
        (colour, "PNG", {}),
        (colour.convert("RGBA"), "PNG", {}),
        (colour.quantize(16), "PNG", {"transparency": 3}),
        (Image.fromarray(pixels[..., 0].astype(np.uint16) * 257), "PNG", {}),
        (colour.quantize(16), "GIF", {}),
        (colour.quantize(16), "GIF", {"save_all": True, "append_images": [colour.rotate(90).quantize(16)]}),
        (colour, "BMP", {}),
        (colour, "TIFF", {"compression": "tiff_lzw"}),
        *([(colour, "WEBP", {}), (colour, "WEBP", {"lossless": True})] if features.check("webp") else []),
    ]
    found = []
    for image, form, options in made:
        file = io.BytesIO()
        image.save(file, form, **options)
        found.append(file.getvalue())
    return found


def places(content: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every value in there, by its steps."""
    if here:
        yield here
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield from places(value, (*here, key))


def mutated_data(original: Any) -> st.SearchStrategy[Any]:
    """The mapping with one to three values replaced, deleted, swapped, wrapped in a list or joined by others."""
    everywhere = list(places(original))

    @st.composite
    def changed(draw: st.DrawFn) -> Any:
        content = copy.deepcopy(original)
        for _ in range(draw(st.integers(1, 3))):
            *steps, last = draw(st.sampled_from(everywhere))
            holder = content
            try:
                for step in steps:
                    holder = holder[step]
                kind = draw(st.sampled_from(["replace", "replace", "delete", "wrap", "text", "join", "copy"]))
                if kind == "replace":
                    holder[last] = draw(VALUES)
                elif kind == "delete":
                    del holder[last]
                elif kind == "wrap":
                    holder[last] = [holder[last]]
                elif kind == "text":
                    holder[last] = str(holder[last])
                elif kind == "join":
                    holder[draw(st.text(max_size=8))] = draw(VALUES)
                else:
                    *elsewhere, other = draw(st.sampled_from(everywhere))
                    value = original
                    for step in (*elsewhere, other):
                        value = value[step]
                    holder[last] = copy.deepcopy(value)
            except (KeyError, IndexError, TypeError):  # an earlier change took the place away
                continue
        return content

    return changed()


def mutated_text(original: str) -> st.SearchStrategy[str]:
    """The text with up to four changes where YAML is easily hurt: a piece put in, a part lost, a line indented."""
    pieces = st.sampled_from([*"[]{}\"':#|>&*!%@`,?\t\\-", "\n", "\r", ": ", "- ", "---\n", "<<: *a\n", "&a ", "\x00"])

    @st.composite
    def changed(draw: st.DrawFn) -> str:
        text = original
        for _ in range(draw(st.integers(1, 4))):
            place = draw(st.integers(0, len(text)))
            kind = draw(st.sampled_from(["piece", "piece", "lose", "end", "indent", "words"]))
            if kind == "piece":
                text = text[:place] + draw(pieces) + text[place:]
            elif kind == "lose":
                text = text[:place] + text[place + draw(st.integers(1, 40)) :]
            elif kind == "end":
                text = text[:place]
            elif kind == "indent":
                start = text.rfind("\n", 0, place) + 1
                text = text[:start] + " " * draw(st.integers(1, 4)) + text[start:]
            else:
                text = text[:place] + draw(st.text(max_size=6)) + text[place:]
        return text

    return changed()


def arguments(original: dict[str, Any]) -> st.SearchStrategy[str]:
    """`key=value` of the command line: an address in the recipe, whole or hurt, and any value."""
    known = [".".join(map(str, steps)) for steps in places(original)]
    address = (
        st.sampled_from(known)
        | st.text(max_size=12)
        | st.tuples(st.sampled_from(known), st.text(max_size=6)).map("".join)
    )
    sign = st.sampled_from(["", "", "+", "~"])
    value = (
        st.text(max_size=12)
        | ODD_TEXTS
        | st.sampled_from(["[", "{a: 1", "1", "-1", "{}", "[]", "{use: bss, weight: 1}"])
    )
    equals = st.sampled_from(["=", "=", "=", "", "=="])
    return st.tuples(sign, address, equals, value).map("".join)
