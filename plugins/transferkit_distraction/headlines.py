"""What `distraction` answers on the first screen of a report."""

from transferkit.report import Headline, Meaning

QUESTION = "Is it looking at the wrong thing?"
TITLE = "of its attention on what the source saw in the background"
HOW = (
    "Your images are pasted on source images. Heat maps say where each model looks outside the pasted part; the number "
    "is how far that overlaps with what the source model sees there: 0 not at all, 100 % the same."
)
LOOK = "Look at the pictures below, and crop or vary the backgrounds of your training images."

HEADLINES = (
    Headline(
        question=QUESTION,
        metric="target_mean",
        title=TITLE,
        against="baseline_mean",
        rival="by a model without a source",
        decides="difference",
        bar=0,
        more=Meaning(
            "Things that it knows from the source draw its attention away from the object, more than in a model that "
            "never saw the source.",
            LOOK,
        ),
        less=Meaning(
            "Such things draw its attention less than that of a model that never saw the source.",
            "Nothing needs to be done about it.",
        ),
        unsure=Meaning(
            "A model that never saw the source may look there as much: no distraction by memories is shown.",
            "Nothing needs to be done; `classes:` and `composites:` with larger numbers would give a surer answer.",
        ),
        how=HOW,
        absent="whether it looks at the wrong thing",
    ),
    Headline(
        question=QUESTION,
        metric="target_mean",
        title=TITLE,
        against="unrelated_target",
        decides="difference_unrelated",
        bar=0,
        more=Meaning("It looks at what the source model sees in the background, more than by chance.", LOOK),
        unsure=Meaning(
            "Chance may explain it: no distraction by memories is shown.",
            "A baseline would give a better comparison: a stage with `start: scratch`, and `baseline: NAME` here.",
        ),
        how=HOW,
    ),
)
WORDS = {
    "distraction": "how far a model looks, outside its object, at what the source model sees there",
    "composites": "pictures made by pasting one of your images on a source image",
    "lingering": "a source class that your images hardly show and that the model still recognises",
}
