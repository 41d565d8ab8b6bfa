"""Report pages as a real browser shows them: nothing sticks out, all can be read and reached, print is complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.analysis.made_up_runs import BIAS, RESULT, metrics, write_audit, write_run
from tests.browsers import DESK, NEEDED, PHONE, axe
from tests.reporting.test_front import DETECTOR, RETENTION
from transferkit.analysis import plots
from transferkit.report import Report, Table, csv_text
from transferkit.reporting.html import write_report

pytestmark = NEEDED
SHEET = 688  # pixels: what A4 with its margins has
WIDE = Table([f"a column called {number}" for number in range(14)], [[f"value {i}" * 3 for i in range(14)]] * 3)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A run with all kinds of parts, and an audit; names as long and wide as real ones get."""
    import numpy as np

    folder = tmp_path_factory.mktemp("pages")
    stage = RESULT["stages"]["target"] | {"classes": ["ants", "a_class_with_quite_a_long_name_in_one_word"]}
    analyses = dict.fromkeys(("retention", "bias", "interference", "mine"), "")
    content = {
        "status": "done",
        "run_dir": f"runs/{'long/' * 12}ants",
        "stages": {"target": stage},
        "analyses": analyses,
    }
    run = write_run(folder / "run", content, lines=metrics())
    mine = Report({"x": 1.0}, {"wide": WIDE}, ["gallery-1.jpg", "a.svg"], "Found `x`.", captions={"a.svg": "One. Two."})
    for name, report in (("retention", RETENTION), ("bias", BIAS), ("interference", DETECTOR), ("mine", mine)):
        report.write(run / "analyses" / name, name=name, plugin=name, version="1", parameters={"dataset": "imagenet"})
    tiles = [np.full((60, 60, 3), 40 * i, np.uint8) for i in range(4)]
    plots.tile_rows(run / "analyses/mine/gallery-1.jpg", [plots.TileRow(tiles, [("a", "b")] * 4)])
    with plots.picture(run / "analyses/mine/a.svg") as (_, axes):
        axes.plot([0, 1], [0, 1])
    out = run / "stages" / "target"
    plots.tile_row(out / "examples/mistake-01.jpg", tiles[:1], size=96)
    plots.tile_row(out / "training-batch.jpg", tiles, size=96)
    rows = [["kind", "true", "predicted", "probability", "true_label", "predicted_label", "id", "picture"]]
    rows += [["mistake", "ants", "a_class", "0.9", "0", "1", "a/1.jpg", "examples/mistake-01.jpg"]]
    (out / "examples.csv").write_text(csv_text(rows))
    audit = write_audit(folder / "audit", {"retention": RETENTION, "bias": BIAS}, warnings=["Near chance."])
    return [write_report(run), write_report(audit)]


def opened(browser, path, width, **options):
    page = browser.new_context(viewport={"width": width, "height": 900}, **options).new_page()
    page.goto(Path(path).resolve().as_uri())
    return page


def sticking_out(page):
    """What reaches beyond the page, unless it is in a box that scrolls."""
    return page.evaluate(
        """() => [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1
        && !e.closest('.scroll, pre, nav')).map(e => e.outerHTML.slice(0, 120))"""
    )


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_nothing_sticks_out_even_when_all_is_open(browser, pages, width):
    for path in pages:
        page = opened(browser, path, width)
        page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert sticking_out(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_can_be_read_and_reached(browser, pages, scheme):
    """Contrast, landmarks, order of headings, names of pictures and links: all rules of axe-core. In dark, contrast."""
    rules = {"runOnly": ["color-contrast"]} if scheme == "dark" else {}
    for path in pages[: 1 if rules else None]:
        page = opened(browser, path, DESK, color_scheme=scheme)
        page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
        page.evaluate("document.querySelectorAll('tr:nth-child(n+3)').forEach(e => e.remove())")  # like those before
        found = axe.Axe().run(page, options=rules).response["violations"]
        assert [(one["id"], [node["html"][:160] for node in one["nodes"][:3]]) for one in found] == []


def test_every_link_leads_somewhere(browser, pages):
    for path in pages:
        page = opened(browser, path, DESK)
        links = page.evaluate("[...document.querySelectorAll('a')].map(e => e.getAttribute('href'))")
        anchors = [link[1:] for link in links if link.startswith("#")]
        assert anchors and all(
            page.evaluate("id => !!document.getElementById(decodeURIComponent(id))", one) for one in anchors
        )
        files = [link for link in links if not link.startswith("#")]
        assert files and all((path.parent / link).is_file() for link in files)


def test_a_cell_of_the_confusion_matrix_leads_to_its_pictures(browser, pages):
    page = opened(browser, pages[0], DESK)
    page.locator("svg.matrix a").first.click()
    assert page.url.endswith("#images-target-0-1")
    top = page.locator("#images-target-0-1").bounding_box()["y"]
    assert page.locator("nav").bounding_box()["height"] <= top < 900  # in view, and not below the links at the top


def test_the_links_stay_at_the_top(browser, pages):
    page = opened(browser, pages[0], DESK)
    page.evaluate("scrollTo(0, 2000)")
    assert page.locator("nav").bounding_box()["y"] == 0


def test_print_is_short_and_cuts_nothing(browser, pages):
    for path in pages:
        page = opened(browser, path, SHEET)
        sheets = len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4")))
        assert 1 <= sheets <= 8
        page.emulate_media(media="print")
        page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
        assert sticking_out(page) == [] and page.evaluate("document.documentElement.scrollWidth") <= SHEET
        cut = "[...document.querySelectorAll('.scroll, pre')].filter(e => e.scrollWidth > e.clientWidth + 1).length"
        assert page.evaluate(cut) == 0


def test_nothing_is_fetched_and_nothing_runs(browser, pages):
    page = browser.new_context(viewport={"width": DESK, "height": 900}).new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(pages[0].resolve().as_uri())
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert page.evaluate("document.scripts.length") == 0
