"""Reading a page back: tags closed in order, texts, attributes."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from transferkit.reporting.html import write_report

from .made_up_runs import write_audit

VOID = {"meta", "img", "br", "wbr", "line", "rect", "polyline", "circle"}


class Page(HTMLParser):
    """Fails on tags that are not closed in order; collects text and attributes, without the links at the top."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.attributes, self.tags = [], [], [], []
        self.goes_on = False  # an explained word is a part of its sentence

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.goes_on = tag == "abbr"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.goes_on = tag == "abbr"

    def handle_data(self, data):
        if {"style", "title", "nav"} & set(self.open):
            return
        if self.goes_on and self.text:
            self.text[-1] += data
        else:
            self.text.append(data)
        self.goes_on = False

    def values(self, name):
        """The values of an attribute."""
        return [value or "" for key, value in self.attributes if key == name]


def parsed(path):
    """The page at `path`; `all_text` is what one reads from top to bottom."""
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    page.close()
    assert page.open == []
    page.all_text = re.sub(r"\s+", " ", " ".join(page.text))
    return page


def audit_page(folder, reports=None, **options):
    """The page of a made-up audit."""
    return parsed(write_report(write_audit(folder / "a" / "stamp", reports, **options)))


def in_order(text, *parts):
    """The parts stand in the text in this order."""
    places = [text.index(part) for part in parts]
    assert places == sorted(places), dict(zip(parts, places, strict=True))
