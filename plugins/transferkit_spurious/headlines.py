"""What `spurious` answers on the first screen of a report."""

from transferkit.report import Headline, Meaning

QUESTION = "Is it looking at the wrong thing?"

HEADLINES = (
    Headline(
        question=QUESTION,
        metric="lime_suspect",
        title="weight of a suspect column in the answer",
        against="lime_floor",
        rival="by noise alone",
        more=Meaning(
            "The answer hangs on columns that you named as suspect.",
            "Take them out of the table, or train with `regularizers: [{use: spd, weight: 0.1}]`.",
        ),
        unsure=Meaning("Noise may explain it: no use of the suspect columns is shown.", "Nothing needs to be done."),
        how="Columns are changed a little, one by one, and a straight line is fitted to what the answer does.",
    ),
    Headline(
        question=QUESTION,
        metric="patch_moved_max",
        title="move of the answer when one patch is hidden",
        bar=0,
        more=Meaning(
            "One place in the picture carries the answer.",
            "Look whether that place is the object: see the picture below.",
        ),
        unsure=Meaning("No single place in the picture carries the answer.", "Nothing needs to be done."),
        how="Patches are hidden one at a time; one half of the images chooses the patch, the other half is measured.",
    ),
)
WORDS = {"suspect": "a column that you named as one that the answer should not hang on"}
