"""What `growth` answers on the first screen of a report."""

from transferkit.report import Headline, Meaning

HEADLINES = (
    Headline(
        question="What did learning new classes cost?",
        metric="forgotten",
        title="of right answers on old classes gone",
        bar=0,
        more=Meaning(
            "It names fewer images of its old classes right than before it learned the new ones.",
            "Replay a few old images, or hold the old answers: the curriculum `replay`, the regularizer `lwf`.",
            "forgot $value of its right answers on old classes",
        ),
        less=Meaning("It names more old images right than before.", "Nothing needs to be done about it."),
        unsure=Meaning(
            "Whether it forgot anything of its old classes is not certain.", "More images of old classes decide it."
        ),
        how="Images of old classes that the model named right before it learned the new ones, less those that it names "
        "right among all classes now.",
        absent="what it forgot of its old classes",
    ),
)
WORDS = {
    "old classes": "the classes that the model knew before its list grew",
    "among old classes": "the answer if no new class could be given: what is right then was not lost",
    "joint training": "training on old and new images together: what could be had with all images at hand",
}
