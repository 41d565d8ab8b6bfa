"""What analyzers stand on: sessions, memories, cached predictions, maps, composites, drawings, and folders of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferkit.surface import lazy_imports

if TYPE_CHECKING:
    from transferkit.analysis.asked_classes import classes_called as classes_called
    from transferkit.analysis.class_mapping import matching_outputs as matching_outputs
    from transferkit.analysis.class_mapping import nameless as nameless
    from transferkit.analysis.composites import Composite as Composite
    from transferkit.analysis.composites import Composites as Composites
    from transferkit.analysis.composites import canvas_of as canvas_of
    from transferkit.analysis.composites import mean_colour as mean_colour
    from transferkit.analysis.composites import place_overlay as place_overlay
    from transferkit.analysis.composites import stretched as stretched
    from transferkit.analysis.concepts import Concept as Concept
    from transferkit.analysis.concepts import Found as Found
    from transferkit.analysis.detector_session import DetectorSession as DetectorSession
    from transferkit.analysis.detector_session import Observed as Observed
    from transferkit.analysis.detector_use import DetectorUse as DetectorUse
    from transferkit.analysis.detectors import FittedDetector as FittedDetector
    from transferkit.analysis.detectors import NamedDetector as NamedDetector
    from transferkit.analysis.detectors import standard_detectors as standard_detectors
    from transferkit.analysis.drawings import agreement as agreement
    from transferkit.analysis.drawings import curves as curves
    from transferkit.analysis.drawings import dots as dots
    from transferkit.analysis.drawings import grouped_bars as grouped_bars
    from transferkit.analysis.drawings import heat as heat
    from transferkit.analysis.drawings import legend_above as legend_above
    from transferkit.analysis.drawings import name_points as name_points
    from transferkit.analysis.erasure import Eraser as Eraser
    from transferkit.analysis.erasure import Moments as Moments
    from transferkit.analysis.erasure import eraser as eraser
    from transferkit.analysis.erasure import leace as leace
    from transferkit.analysis.ids import answer_counts as answer_counts
    from transferkit.analysis.ids import class_ids as class_ids
    from transferkit.analysis.ids import same_length as same_length
    from transferkit.analysis.ids import share_histogram as share_histogram
    from transferkit.analysis.ids import whole_counts as whole_counts
    from transferkit.analysis.maps import ActivationMaps as ActivationMaps
    from transferkit.analysis.maps import MapsOutput as MapsOutput
    from transferkit.analysis.maps import Wanted as Wanted
    from transferkit.analysis.maps import upsample as upsample
    from transferkit.analysis.plots import COLOURS as COLOURS
    from transferkit.analysis.plots import GRID as GRID
    from transferkit.analysis.plots import LIGHT as LIGHT
    from transferkit.analysis.plots import RULE as RULE
    from transferkit.analysis.plots import SIZE as SIZE
    from transferkit.analysis.plots import SOFT as SOFT
    from transferkit.analysis.plots import TEXT as TEXT
    from transferkit.analysis.plots import TileRow as TileRow
    from transferkit.analysis.plots import overlay_heat as overlay_heat
    from transferkit.analysis.plots import picture as picture
    from transferkit.analysis.plots import short_name as short_name
    from transferkit.analysis.plots import tile_row as tile_row
    from transferkit.analysis.plots import tile_rows as tile_rows
    from transferkit.analysis.predictions import Predictions as Predictions
    from transferkit.analysis.probing import linear_probe as linear_probe
    from transferkit.analysis.session import AnalysisSession as AnalysisSession
    from transferkit.analysis.shortcut import gate as gate
    from transferkit.analysis.shortcut import shortcut_reliance as shortcut_reliance
    from transferkit.analysis.source_memory import Memories as Memories
    from transferkit.analysis.source_memory import MemoryEvidence as MemoryEvidence
    from transferkit.analysis.source_memory import image_threshold as image_threshold
    from transferkit.analysis.source_memory import judge_memories as judge_memories
    from transferkit.analysis.source_memory import memories as memories
    from transferkit.analysis.source_memory import memory_evidence as memory_evidence
    from transferkit.analysis.source_memory import memory_thresholds as memory_thresholds
    from transferkit.analysis.source_sets import class_means as class_means
    from transferkit.analysis.source_sets import lingering as lingering
    from transferkit.analysis.source_sets import prevalence as prevalence
    from transferkit.analysis.source_sets import source_only as source_only
    from transferkit.analysis.thresholds import MemoryThresholds as MemoryThresholds
    from transferkit.analysis.trained_on import exposures as exposures
    from transferkit.runs.comparison import dotted_keys as dotted_keys
    from transferkit.runs.comparison import run_folders as run_folders
    from transferkit.runs.record import RunRecord as RunRecord
    from transferkit.runs.record import is_run as is_run
    from transferkit.runs.record import read_run as read_run
    from transferkit.system.terminal import note as note
    from transferkit.system.terminal import print_json as print_json
    from transferkit.system.terminal import print_table as print_table
    from transferkit.system.terminal import say as say
    from transferkit.training.progress import Bar as Bar
else:
    __getattr__, __all__ = lazy_imports(__name__)
    __dir__ = __all__.copy
