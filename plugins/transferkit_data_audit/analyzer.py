"""The analyzer `data`: what is wrong with the images and labels that a model learns from and is judged by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from transferkit.report import Headline, Metric
from transferkit_data_audit.headlines import HEADLINES, WORDS
from transferkit_data_audit.options import Options

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.report import Report


def _share(key: str, name: str, answers: str) -> Metric:
    return Metric(key, name, "share", "worse", answers, interval=True)


@dataclass
class Data(Options):
    """Look for wrong labels, copies, leaks from train, outliers, odd pictures and shortcuts in the target's images."""

    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("images", "images", "count", answers="How many images were looked at?"),
        Metric("issues", "issues", "count", "worse", "How many rows has issues.csv?"),
        _share("wrong_labels", "likely wrong labels", "Of how many images is the label likely wrong?"),
        _share("doubtful_labels", "doubtful labels", "Of how many more would the other images give another label?"),
        _share("leaked", "test images that are also in train", "How many validation and test images were trained on?"),
        _share("leaked_exactly", "test files that are also in train", "Of how many is the very file in train?"),
        _share("copies", "further copies in a split", "How many images are in their split already?"),
        _share("outliers", "outliers", "How many images are like no other?"),
        _share("dark", "dark images", "How many are far darker than the others?"),
        _share("bright", "bright images", "How many are far brighter?"),
        _share("blurred", "blurred images", "How many are far less sharp?"),
        _share("plain", "plain images", "How many show hardly anything?"),
        _share("odd_size", "images of odd size", "How many are far smaller or larger?"),
        _share("odd_shape", "images of odd shape", "How many are far wider or higher?"),
        Metric(
            "shortcuts", "shortcut suspects", "count", "worse",
            "How many classes can be told by corners, border, colour or file alone?",
        ),
        _share("told_by_corners", "told by the corners alone", "How often do the four corners tell the class?"),
        _share("told_by_border", "told by the border alone", "How often does the border?"),
        _share("told_by_colour", "told by the mean colour alone", "How often do mean and spread of the colours?"),
        _share("told_by_file", "told by the file's size alone", "How often do sizes of picture and file?"),
        Metric("told_by_chance", "told by chance", "share", answers="How often is the largest class right?"),
        Metric(
            "shortcut_p", "p of the strongest shortcut", "p",
            answers="How probable is it that chance tells a class so well anywhere?",
        ),
    )  # fmt: skip
    headlines: ClassVar[tuple[Headline, ...]] = HEADLINES
    words: ClassVar[dict[str, str]] = WORDS

    def analyze(self, session: AnalysisSession) -> Report:
        """Every issue with its score and what to do, from features of the task's images and a look at their pixels."""
        from transferkit_data_audit.report import report

        return report(session, self)
