"""What `lingering` answers on the first screen of a report."""

from transferkit.report import Headline, Meaning

HEADLINES = (
    Headline(
        question="What does it still recognise?",
        metric="lingering_certain",
        title="kinds of things nobody asked for, still recognised",
        shown="$value of $source_only",
        more=Meaning(
            "These source classes hardly occur in your images, and the model surely still knows them. Of $uncertain "
            "more there are too few images to tell.",
            "See which they are: `analyses/$analysis/lingering.csv`. To let go of some, name them in a stage with the "
            "edit `leace` or the regularizer `unlearn_source`.",
            "still knows $value kinds of things that your images do not show",
        ),
        unsure=Meaning(
            "No source class beyond your task is surely still known. Of $uncertain there are too few images to tell.",
            "With more images per class (ten or more) the uncertain ones can be decided.",
            "surely knows nothing that your images do not show",
        ),
        bar=0,
        how="A class counts when the source model hardly sees it in your images, and the fine-tuned network, under the "
        "source's classifier, gives it more probability on its own images than the threshold; with the whole "
        "interval above it.",
        absent="what it still carries of its source",
    ),
)
WORDS = {
    "source-only": "a source class that hardly occurs in your images",
    "lingering": "source-only, and still recognised by the fine-tuned model",
    "shared": "a source class that your images show as well",
    "prevalence": "how often the source model names a class when it looks at your images",
}
