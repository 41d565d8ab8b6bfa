"""What `retention` answers on the first screen of a report."""

from transferkit.report import Headline, Meaning

ADD = "$detector"

HEADLINES = (
    Headline(
        question="What does it still recognise?",
        metric="relative_retention",
        title="of what the source knew, still recognised",
        against="relative_retention_chance",
        more=Meaning(
            "More than guessing would give: knowledge that your task does not need is still there, and pictures of "
            "these things can wake it.",
            f"As long as every picture is of your classes it costs nothing. {ADD}",
            "still recognises $value of what its source could name",
        ),
        less=Meaning(
            "Less than guessing would give: what the source knew has been overwritten.",
            "Nothing needs to be done about it.",
            "recognises nothing of what its source could name",
        ),
        unsure=Meaning(
            "Guessing would do as well: little of the source is left, or there were too few images to see it.",
            "For a surer number give more source images per class (there are $images_per_class).",
            "recognises so little of what its source could name that guessing would do as well",
        ),
        how="The source's own classifier is put back on the fine-tuned network and names source images. The number is "
        "its right answers as a part of those that the source model gets right.",
        absent="what it still carries of its source",
    ),
    Headline(
        question="What does it still recognise?",
        metric="top1_head_swap",
        title="of the source images, still named right",
        more=Meaning(
            "How many of them the source model itself names is not known, so this is no share of what it knew.",
            "",
            "still names $value of the source images right",
        ),
        how="The source's own classifier is put back on the fine-tuned network and names source images.",
    ),
)
WORDS = {
    "retention": "the part of the source's knowledge that is left after fine-tuning",
    "head swap": "the source's classifier put back on the fine-tuned network: what it still names is still remembered",
    "recall": "the part of a class's images that are named right",
    "prevalence": "how often the source model names a class when it looks at your images",
}
