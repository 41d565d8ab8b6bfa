"""What can be wrong with an image or a class: the words for it, what it means, and what to do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """An issue; `key` is its metric: the share of images that have it."""

    key: str
    means: str
    todo: str
    score: str


DIGITS = 4
FAR = "robust standard deviations from the median"
KINDS = {
    "wrong label": Kind(
        "wrong_labels",
        "The other images say confidently that it shows another class.",
        "Look at each; move it to the class that is suggested, or take it out.",
        "0.5 is undecided, 1 is surely another class",
    ),
    "doubtful label": Kind(
        "doubtful_labels",
        "The other images would give it another class, but not confidently: hard pictures are among them.",
        "Look through them after the likely wrong ones.",
        "0.5 is undecided, 1 is surely another class",
    ),
    "leak": Kind(
        "leaked",
        "The picture is also in train: what it is tested on, it has learned by heart, so results flatter.",
        "Take it out of one of the two.",
        "1 is the same picture",
    ),
    "copy": Kind(
        "copies",
        "The picture is there again: it counts double, and may stand under two labels.",
        "Keep one of them.",
        "1 is the same picture",
    ),
    "outlier": Kind(
        "outliers",
        "It is like no other image here: something else, a drawing among photographs, a broken file.",
        "Look at it; take it out if it does not belong.",
        "robust standard deviations from its class",
    ),
    "dark": Kind("dark", "Far darker than the others.", "Look at it; little can be learned from black.", FAR),
    "bright": Kind("bright", "Far brighter than the others.", "Look at it; little can be learned from white.", FAR),
    "blurred": Kind("blurred", "Far less sharp than the others.", "Take it out, unless such pictures will come.", FAR),
    "plain": Kind("plain", "Hardly anything in it.", "Take it out if the object is not seen.", FAR),
    "odd size": Kind(
        "odd_size", "Far smaller or larger than the others.", "Look whether it is a thumbnail or a scan.", FAR
    ),
    "odd shape": Kind("odd_shape", "Far wider or higher: it is squeezed or cropped.", "Crop it to the object.", FAR),
    "shortcut": Kind(
        "shortcuts",
        "The class can be told without looking at the object, so the model may do the same.",
        "Look at the place in the map; crop it away, or take pictures of all classes in the same way.",
        "0.5 is chance, 1 tells the class always (AUC)",
    ),
}
SHARES = {name: kind for name, kind in KINDS.items() if name != "shortcut"}
PLACES = {
    "corners": "the four corners",
    "border": "the border",
    "colour": "the mean colour",
    "file": "the size of picture and file",
}


@dataclass(frozen=True)
class Issue:
    """One row of issues.csv."""

    kind: str
    split: str
    id: str
    label: str
    score: float
    suggestion: str
    place: int = -1
    """Of the image among all; −1 for a class as a whole."""
    other: int = -1
    """Of the image that it is a copy of."""

    def row(self) -> dict[str, object]:
        """As the table has it."""
        return {
            "issue": self.kind,
            "split": self.split,
            "id": self.id,
            "class": self.label,
            "score": round(self.score, DIGITS),
            "suggestion": self.suggestion,
        }
