"""What `confusion` answers on the first screen of a report."""

from transferkit.report import Headline, Meaning

QUESTION = "Is it looking at the wrong thing?"
TITLE = "more right answers where the background agrees"
HOW = (
    "Your images are pasted on source images that the model takes, on their own, for the same class or for another. "
    "The number is how much more often it is right on the first than on the second."
)
CROP = "Photograph objects before different backgrounds, or crop to the object, before you ask the model."

HEADLINES = (
    Headline(
        question=QUESTION,
        metric="contrast_target",
        title=TITLE,
        against="contrast_baseline",
        rival="by a model without a source",
        decides="contrast_difference",
        bar=0,
        more=Meaning("The background takes part in the answer, more than in a model that never saw the source.", CROP),
        less=Meaning(
            "The background moves it less than a model that never saw the source.", "Nothing needs to be done about it."
        ),
        unsure=Meaning(
            "Whether the background takes part in the answer more than in a model that never saw the source, these "
            "pictures cannot tell.",
            "More `overlays:` and `backgrounds:` would decide it.",
        ),
        how=HOW,
        absent="whether it looks at the wrong thing",
    ),
    Headline(
        question=QUESTION,
        metric="contrast_target",
        title=TITLE,
        bar=0,
        more=Meaning("The background takes part in the answer.", CROP),
        unsure=Meaning(
            "Whether the background takes part in the answer is not certain.",
            "More `overlays:` and `backgrounds:` would decide it.",
        ),
        how=HOW,
    ),
)
WORDS = {
    "composites": "pictures made by pasting one of your images on a source image",
    "contrast": "how much more often it is right where the background speaks for the same class",
}
