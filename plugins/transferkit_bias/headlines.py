"""What `bias` answers on the first screen of a report."""

from transferkit.report import Headline, Meaning

QUESTION = "Does it answer from memory?"
TITLE = "of the foreign kinds of things get nearly always one and the same answer"
HOW = (
    "The model has to give one of your classes for each source image, which shows neither. The number is the share of "
    "source classes, of those with enough images, of which nearly all images get the same answer."
)
ADD = "$detector"

HEADLINES = (
    Headline(
        question=QUESTION,
        metric="high_certain",
        title=TITLE,
        against="high_certain_baseline",
        rival="by a model without a source",
        decides="intraclass_difference",
        bar=0,
        more=Meaning(
            "What a foreign picture shows decides the answer, more than in a model that never saw the source: the "
            "answer then comes from a memory, not from your classes.",
            f"Do not trust answers on pictures that are not of your classes. {ADD}",
        ),
        less=Meaning(
            "Foreign pictures decide the answer less than in a model that never saw the source.",
            "Nothing needs to be done about it.",
        ),
        unsure=Meaning(
            "A model that never saw the source may do the same on these pictures, so memory need not be the reason.",
            "More images per source class, or more classes, would decide it.",
        ),
        how=HOW,
        absent="whether it answers from memory",
    ),
    Headline(
        question=QUESTION,
        metric="high_certain",
        title=TITLE,
        against="high_certain_expected",
        decides="intraclass_correlation",
        bar=0,
        more=Meaning(
            "What a foreign picture shows decides the answer. Whether that is a memory, only a baseline can tell.",
            "Train one: a stage with `start: scratch` on the same images, and `baseline: NAME` here.",
        ),
        unsure=Meaning(
            "Chance may explain these answers.", "More images per source class, or more classes, would decide it."
        ),
        how=HOW,
    ),
    Headline(
        question=QUESTION,
        metric="high",
        title=TITLE,
        against="high_expected",
        more=Meaning(
            "More than chance gives; but no class has enough images to be sure of it.",
            "Give ten or more images per source class.",
        ),
        unsure=Meaning("Chance may explain these answers.", "Give ten or more images per source class."),
        how=HOW,
    ),
)
WORDS = {
    "highly biased": "nearly all of the images of a source class get the same answer",
    "overdispersion": "how much more the answers differ between classes than chance explains; 1 is not at all",
    "intraclass correlation": "how alike the answers to images of one class are: 0 not at all, 1 the class decides",
}
