"""One timm model, its heads, features and taps; the folders and files that models are kept in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferkit.surface import lazy_imports

if TYPE_CHECKING:
    from transferkit.deploy.interference import Calibration as Calibration
    from transferkit.deploy.interference import DetectorRecord as DetectorRecord
    from transferkit.deploy.interference import Guarantee as Guarantee
    from transferkit.deploy.interference import Interference as Interference
    from transferkit.deploy.interference import LingeringClass as LingeringClass
    from transferkit.deploy.interference import Score as Score
    from transferkit.deploy.interference import write_interference as write_interference
    from transferkit.deploy.temperature import Temperature as Temperature
    from transferkit.deploy.temperature import write_temperature as write_temperature
    from transferkit.model import nets as nets
    from transferkit.model.adapting import layers_of as layers_of
    from transferkit.model.adapting import merged as merged
    from transferkit.model.adapting import recast as recast
    from transferkit.model.creation import build as build
    from transferkit.model.detector import Scorer as Scorer
    from transferkit.model.digest import backbone_digest as backbone_digest
    from transferkit.model.digest import head_digest as head_digest
    from transferkit.model.digest import model_digest as model_digest
    from transferkit.model.digest import weights_sha256 as weights_sha256
    from transferkit.model.folder import SOURCE_HEAD as SOURCE_HEAD
    from transferkit.model.folder import WEIGHTS as WEIGHTS
    from transferkit.model.folder import save_model as save_model
    from transferkit.model.head_init import rows_of as rows_of
    from transferkit.model.layout import Reading as Reading
    from transferkit.model.modes import evaluating as evaluating
    from transferkit.model.passes import features_of as features_of
    from transferkit.model.passes import outputs as outputs
    from transferkit.model.passes import reading_workers as reading_workers
    from transferkit.model.preprocessing import Preprocessing as Preprocessing
    from transferkit.model.taps import default_taps as default_taps
    from transferkit.model.wrapper import Output as Output
    from transferkit.model.wrapper import SourceHead as SourceHead
    from transferkit.model.wrapper import TransferModel as TransferModel
    from transferkit.model.wrapper import reference_of as reference_of
    from transferkit.runs.model_place import ModelPlace as ModelPlace
    from transferkit.runs.model_place import model_place as model_place
    from transferkit.system.atomic import sha256 as sha256
else:
    __getattr__, __all__ = lazy_imports(__name__)
    __dir__ = __all__.copy
