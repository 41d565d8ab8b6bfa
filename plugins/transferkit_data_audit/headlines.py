"""What `data` answers on the first screen of a report."""

from transferkit.report import Headline, Meaning

QUESTION = "Is the data sound?"

HEADLINES = (
    Headline(
        question=QUESTION,
        metric="wrong_labels",
        title="of the labels are likely wrong",
        bar=0.01,
        more=Meaning(
            "More than one label in a hundred: the model learns from them, and is judged by them.",
            "Look through `issues.csv`, the worst first, and move or remove those images.",
            "learned from data of which $value of the labels are likely wrong",
        ),
        less=Meaning("Fewer than one label in a hundred.", "Nothing needs to be done about labels."),
        unsure=Meaning(
            "About one label in a hundred, or there are too few images to tell.",
            "Look at those that `issues.csv` names.",
        ),
        how="Small classifiers on the network's features judge images that they did not learn from; a label is likely "
        "wrong where they are confident of another class.",
    ),
    Headline(
        question=QUESTION,
        metric="leaked",
        title="of the images it is tested on are also in train",
        bar=0,
        more=Meaning("What it is tested on it has seen: its accuracy is flattered.", "Remove what `issues.csv` names."),
        unsure=Meaning("No copy was found between train and the images it is tested on.", "Nothing needs to be done."),
        how="Pictures are laid over each other; a copy agrees far better than any other picture.",
    ),
)
WORDS = {
    "leak": "a picture that is both trained on and tested on",
    "shortcut": "a mark, border or colour that gives the class away without the object",
    "outlier": "an image that is like no other one",
}
