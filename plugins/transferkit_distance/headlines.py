"""What `distance` answers on the first screen of a report."""

from transferkit.report import Headline, Meaning

HEADLINES = (
    Headline(
        question="How far did training move it?",
        metric="displacement",
        title="from its start, in the space of weights",
        more=Meaning(
            "Of use beside another run: the smaller number stayed nearer to what it started from.",
            "Compare runs: `transferkit compare $run OTHER_RUN`.",
        ),
        how="The Euclidean distance between the weights at the end and at the start.",
    ),
)
WORDS = {"Fisher": "a distance that counts how far predictions move rather than weights"}
