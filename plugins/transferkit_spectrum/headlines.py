"""What `spectrum` answers on the first screen of a report."""

from transferkit.report import Headline, Meaning

HEADLINES = (
    Headline(
        question="What changed inside?",
        metric="cosine",
        title="of its weights' directions, where they were",
        more=Meaning(
            "1 is exactly where they were, 0 is anywhere. Directions that did not move still carry the source.",
            "To keep more of them, a lower learning rate, or `regularizers: [{use: l2_sp, weight: 0.01}]`.",
        ),
        how="The singular vectors of each weight matrix before and after training, compared by their angles.",
    ),
)
WORDS = {
    "cosine": "of the angle between two directions: 1 the same, 0 at right angles",
    "singular": "the directions in which a matrix stretches, and by how much",
}
