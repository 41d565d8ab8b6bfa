"""Words that a newcomer does not know, explained where they stand: the core's own, and what analyzers declare."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape

from transferkit.reporting.page import Markup

WORDS = {
    "source": "what the network was trained on before: its images, its classes, and the model as it was then",
    "target": "your task: your images, your classes, and the fine-tuned model",
    "fine-tuned": "trained further on your images, from what the source had taught it",
    "baseline": "the same task learned from scratch, for comparison: it has no memories of a source",
    "from scratch": "starting with random numbers instead of a trained network",
    "backbone": "the network up to its features, without the last layer that names classes",
    "head": "the last layer, which turns features into classes",
    "features": "the numbers that the network makes of an image before the last layer names it",
    "top-1": "the share of images whose first answer is right",
    "recall": "the share of a class's images that are named right",
    "validation": "images that were kept out of training, to see how good the model is on new ones",
    "95 % interval": "where the true number lies 19 times out of 20, if images like these were drawn anew",
    "range": "where the true number lies 19 times out of 20, if images like these were drawn anew",
    "by chance": "what a model that knows nothing would reach",
    "foreign": "of none of your classes",
    "memory": "something that the network knows from its source and that your task does not need",
    "memories": "what the network knows from its source and your task does not need",
    "detector": "the part of the model that says, with each answer, whether the picture woke a memory",
    "epoch": "one pass of training over all images",
    "regularizers": "what keeps training from changing the network in ways that are not wanted",
}
FOLDER = re.compile(r"(?<=\w)/")
CODE = re.compile(r"`([^`]+)`")


@dataclass
class Glossary:
    """Explains each word once in a section; `used` are those that occurred, for the list at the end."""

    words: Mapping[str, str] = field(default_factory=lambda: WORDS)
    used: dict[str, str] = field(default_factory=dict)
    _here: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        longest = sorted(self.words, key=len, reverse=True)
        names = "|".join(re.escape(escape(word)).replace(r"\ ", r"[\s\u00a0]") for word in longest)
        self._pattern = re.compile(rf"(?<![\w-])({names})(?![\w-])", re.IGNORECASE) if names else None
        self._known = {word.lower(): word for word in self.words}

    def section(self) -> None:
        """A new section begins, in which each word is explained anew."""
        self._here.clear()

    def explained(self, text: str) -> Markup:
        """Plain text as markup: `code` as code, the first of each known word with what it means."""
        parts = CODE.split(text.replace(" %", "\N{NO-BREAK SPACE}%"))
        return Markup("".join(_code(part) if i % 2 else self._marked(part) for i, part in enumerate(parts)))

    def _marked(self, text: str) -> str:
        plain = escape(text)
        return plain if self._pattern is None else self._pattern.sub(self._mark, plain)

    def _mark(self, found: re.Match[str]) -> str:
        word = self._known[re.sub(r"\s", " ", found[0]).lower()]
        self.used[word] = self.words[word]
        if word in self._here:
            return found[0]
        self._here.add(word)
        return f'<abbr title="{escape(self.words[word])}">{found[0]}</abbr>'


def _code(text: str) -> str:
    """A command or recipe line; a path breaks at its folders."""
    return f"<code>{FOLDER.sub('/<wbr>', escape(text))}</code>"
