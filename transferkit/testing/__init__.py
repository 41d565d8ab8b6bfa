"""What plugin authors import: tiny models and images, tiny and made-up sessions, and `check_plugin`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferkit.surface import lazy_imports

if TYPE_CHECKING:
    from transferkit.testing.check import check_plugin as check_plugin
    from transferkit.testing.detector import tiny_guarded as tiny_guarded
    from transferkit.testing.made_up import MadeUpImages as MadeUpImages
    from transferkit.testing.made_up import MadeUpModel as MadeUpModel
    from transferkit.testing.made_up import colour_model as colour_model
    from transferkit.testing.made_up import made_up_session as made_up_session
    from transferkit.testing.tiny import TinySession as TinySession
    from transferkit.testing.tiny import tiny_analysis as tiny_analysis
    from transferkit.testing.tiny import tiny_images as tiny_images
    from transferkit.testing.tiny import tiny_model as tiny_model
    from transferkit.testing.tiny import tiny_session as tiny_session
else:
    __getattr__, __all__ = lazy_imports(__name__)
    __dir__ = __all__.copy
