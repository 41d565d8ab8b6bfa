"""An audit of the data set itself. Registration only; read analyzer.py next, or README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_data_audit.copies import near_copies as near_copies
    from transferkit_data_audit.labels import confident_errors as confident_errors
    from transferkit_data_audit.labels import out_of_fold as out_of_fold
    from transferkit_data_audit.outliers import far_off as far_off
    from transferkit_data_audit.shortcuts import predictable as predictable
    from transferkit_data_audit.unusual import unusual as unusual
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the analyzer `data`."""
    register.analyzer("data", "transferkit_data_audit.analyzer:Data")
