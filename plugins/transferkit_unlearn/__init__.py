"""Classes out of the backbone's own features. Registration only; see tail.py, match.py, edit.py and README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transferkit

if TYPE_CHECKING:
    from transferkit import Register
    from transferkit_unlearn.match import matched as matched
    from transferkit_unlearn.match import same_answers as same_answers
    from transferkit_unlearn.tail import Tail as Tail
    from transferkit_unlearn.tail import tail_of as tail_of
else:
    __getattr__, __all__ = transferkit.lazy_imports(__name__)


@transferkit.hookimpl
def transferkit_register(register: Register) -> None:
    """Offer the edit `unlearn`."""
    register.edit("unlearn", "transferkit_unlearn.edit:Unlearn")
