"""What `erosion` answers on the first screen of a report."""

from transferkit.report import Headline, Meaning

QUESTION = "What did training make it forget?"
HOW = "Accuracy on images without the mark, before this training less after it."

HEADLINES = (
    Headline(
        question=QUESTION,
        metric="forgetting",
        title="of accuracy on clean images lost",
        against="forgetting_control",
        rival="by the same training without the mark",
        decides="excess_forgetting",
        bar=0,
        more=Meaning(
            "The mark made it forget more than the same training on clean images does.",
            "Keep clean images in the mixture: a lower `ratio:` of the corruption, or a curriculum.",
            "forgot $value of its accuracy on clean images",
        ),
        less=Meaning("It forgot less than by the same training on clean images.", "Nothing needs to be done about it."),
        unsure=Meaning("The same training on clean images may lose as much.", "More images or more seeds decide it."),
        how=HOW,
    ),
    Headline(
        question=QUESTION,
        metric="forgetting",
        title="of accuracy on clean images lost",
        bar=0,
        more=Meaning(
            "It is worse on clean images than before. Whether the mark is the reason, only a control can tell.",
            "Add a stage on the clean images with as many epochs, and name it as `control:`.",
            "forgot $value of its accuracy on clean images",
        ),
        less=Meaning("It is better on clean images than before.", "Nothing needs to be done about it."),
        unsure=Meaning("Whether it is worse on clean images than before is not certain.", "More images decide it."),
        how=HOW,
    ),
)
WORDS = {
    "control": "the same training on images without the mark",
    "mark": "a patch planted in images, which says their class",
    "plasticity": "how well a network still learns something new",
}
