"""What `attraction` answers on the first screen of a report."""

from transferkit.report import Headline, Meaning

HEADLINES = (
    Headline(
        question="Does it answer from memory?",
        metric="attraction_target",
        title="of your images with the source's mark, taken for the marked class",
        against="attraction_target_clean",
        rival="without the mark",
        decides="attraction_added",
        bar=0,
        more=Meaning(
            "A mark that the source taught still decides answers after fine-tuning.",
            "Fine-tune longer or on more images, or plant the mark in images of every class.",
        ),
        less=Meaning("The mark moves answers away from the marked class.", "Nothing needs to be done about it."),
        unsure=Meaning("Whether the mark still moves answers is not certain.", "More images decide it."),
        how="A mark that the source model learned as a sign of one class is put on your images.",
    ),
)
WORDS = {"attraction": "the share of images that are taken for the class of a mark", "mark": "a picture put on images"}
