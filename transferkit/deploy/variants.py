"""Which graph of a model an exported file holds: its format, what it is given, and what its logits are."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from transferkit.errors import InputError

FORMATS = ("onnx", "pt2")
INPUTS = ("floats", "uint8")
CALIBRATED = "calibrated"


@dataclass(frozen=True)
class Variant:
    """`input` is preprocessed images (`floats`) or RGB pixels of any size (`uint8`).

    Of a `calibrated` one the logits are divided by the model's temperature.
    """

    form: str
    input: str = INPUTS[0]
    calibrated: bool = False

    @property
    def pixels(self) -> bool:
        """Whether the graph preprocesses pictures itself."""
        return self.input != INPUTS[0]

    @property
    def key(self) -> str:
        """Its name in export.json: `onnx`, `onnx_uint8`, `onnx_uint8_calibrated`, …"""
        return self.form + self._suffix

    @property
    def file(self) -> str:
        """The name of its file: `model.onnx`, `model_uint8.onnx`, …"""
        return f"model{self._suffix}.{self.form}"

    @property
    def _suffix(self) -> str:
        parts = [self.input] * self.pixels + [CALIBRATED] * self.calibrated
        return "".join(f"_{part}" for part in parts)

    @classmethod
    def of(cls, key: str) -> Variant:
        """The inverse of `key`. Raises InputError for a name that none has."""
        for options in product(FORMATS, INPUTS, (False, True)):
            if (variant := cls(*options)).key == key:
                return variant
        raise InputError(f'export.json names a file of an unknown kind, "{key}"; export the model again')
