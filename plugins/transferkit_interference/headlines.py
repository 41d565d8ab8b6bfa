"""What `interference` answers on the first screen of a report."""

from transferkit.report import Headline, Meaning

HEADLINES = (
    Headline(
        question="Can I tell when?",
        metric="tpr_presence",
        title="of foreign pictures flagged by the detector",
        against="false_alarm_rate",
        rival="false alarms on pictures of your own",
        decides="auroc_presence",
        bar=0.5,
        more=Meaning(
            "It tells pictures that wake a memory from pictures of your own better than chance, at no extra time.",
            "Switch it on: `transferkit detect $model PHOTO.jpg`, or as a service `transferkit serve $model`.",
            "carries a detector worth switching on, which flags $value of foreign pictures at $against false alarms",
        ),
        less=Meaning(
            "It flags pictures of your own rather than foreign ones.",
            "Leave it off: `transferkit predict $model PHOTO.jpg` answers without it.",
            "carries a detector that is not worth switching on",
        ),
        unsure=Meaning(
            "Whether it tells pictures that wake a memory from pictures of your own is not certain.",
            "Do not rely on it yet. More images of each source class would decide it ($watched are watched).",
            "carries a detector, but it is not certain whether switching it on is worth it",
        ),
        how="Images of source classes that the model still knows are mixed with images of your own, neither used for "
        "making the detector. The number is how many of the foreign ones are flagged; beside it, how many of yours.",
        absent="whether a detector of its memories is worth switching on",
    ),
)
WORDS = {
    "interference": "a memory of the source that is active while the model looks at a picture",
    "AUROC": "how often a foreign picture has a higher score than one of your own: 50 % is chance, 100 % always",
    "lingering": "a source class that your images hardly show and that the model still recognises",
}
