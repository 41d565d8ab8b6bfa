"""Which graph of a model an exported file holds: its format, what it is given, and what it computes in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from transferkit.errors import InputError

FORMATS = ("onnx", "pt2")
INPUTS = ("floats", "uint8")
PRECISIONS = ("float32", "float16", "bfloat16", "int8")
PLAIN = (INPUTS[0], PRECISIONS[0])


@dataclass(frozen=True)
class Variant:
    """`input` is preprocessed images (`floats`) or RGB pixels of any size (`uint8`)."""

    form: str
    input: str = PLAIN[0]
    precision: str = PLAIN[1]

    @property
    def key(self) -> str:
        """Its name in export.json: `onnx`, `onnx_uint8`, `pt2_uint8_float16`, …"""
        return self.form + self._suffix

    @property
    def file(self) -> str:
        """The name of its file: `model.onnx`, `model_uint8.onnx`, …"""
        return f"model{self._suffix}.{self.form}"

    @property
    def _suffix(self) -> str:
        parts = (self.input, self.precision)
        return "".join(f"_{part}" for part, plain in zip(parts, PLAIN, strict=True) if part != plain)

    @classmethod
    def of(cls, key: str) -> Variant:
        """The inverse of `key`. Raises InputError for a name that none has."""
        for variant in (cls(*parts) for parts in _all()):
            if variant.key == key:
                return variant
        raise InputError(f'there is no exported file of the kind "{key}"')


def _all() -> Iterable[tuple[str, str, str]]:
    return ((form, given, precision) for form in FORMATS for given in INPUTS for precision in PRECISIONS)
