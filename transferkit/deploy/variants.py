"""Which graph of a model an exported file holds: its format, and what it is given."""

from __future__ import annotations

from dataclasses import dataclass

from transferkit.errors import InputError

FORMATS = ("onnx", "pt2")
INPUTS = ("floats", "uint8")


@dataclass(frozen=True)
class Variant:
    """`input` is preprocessed images (`floats`) or RGB pixels of any size (`uint8`)."""

    form: str
    input: str = INPUTS[0]

    @property
    def pixels(self) -> bool:
        """Whether the graph preprocesses pictures itself."""
        return self.input != INPUTS[0]

    @property
    def key(self) -> str:
        """Its name in export.json: `onnx`, `onnx_uint8`, …"""
        return self.form + self._suffix

    @property
    def file(self) -> str:
        """The name of its file: `model.onnx`, `model_uint8.onnx`, …"""
        return f"model{self._suffix}.{self.form}"

    @property
    def _suffix(self) -> str:
        return f"_{self.input}" if self.pixels else ""

    @classmethod
    def of(cls, key: str) -> Variant:
        """The inverse of `key`. Raises InputError for a name that none has."""
        for variant in (cls(form, given) for form in FORMATS for given in INPUTS):
            if variant.key == key:
                return variant
        raise InputError(f'export.json names a file of an unknown kind, "{key}"; export the model again')
