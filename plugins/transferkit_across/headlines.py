"""What `across` answers on the first screen of a report."""

from transferkit.report import Headline, Meaning

QUESTION = "Do models agree?"
MEANS = Meaning(
    "1 is the same in every model, 0 is no likeness: then another model, or another seed, gives other ones."
)

HEADLINES = (
    Headline(QUESTION, "recall_r", MEANS, title="likeness of what two models still know",
             how="The correlation, over source classes, of how much is left in two models; the mean over pairs."),
    Headline(QUESTION, "bias_r", MEANS, title="likeness of what two models are biased by",
             how="The correlation, over source classes, of the bias of two models; the mean over pairs."),
    Headline(QUESTION, "r", MEANS, title="likeness of two models in what was asked for",
             how="The correlation over source classes; the mean over pairs of models."),
)  # fmt: skip
WORDS: dict[str, str] = {}
