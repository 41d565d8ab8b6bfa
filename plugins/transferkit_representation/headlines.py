"""What `representation` answers on the first screen of a report."""

from transferkit.report import Headline, Meaning

HEADLINES = (
    Headline(
        question="What changed inside?",
        metric="cka_diagonal",
        title="likeness of its layers, before and after",
        more=Meaning(
            "1 is unchanged up to rotation and scale, 0 is nothing in common. A low number with a good accuracy means "
            "that it learned anew rather than fine-tuned.",
            "To keep more of the start, a lower learning rate, or `regularizers: [{use: l2_sp, weight: 0.01}]`.",
        ),
        how="Centred kernel alignment (CKA) of each layer's outputs on the same images, averaged over layers.",
    ),
)
WORDS = {
    "CKA": "how alike two layers see the same images: 1 the same up to rotation and scale, 0 unrelated",
    "linear probe": "a straight line drawn through the features: what it tells apart is written in them",
}
