"""The page about analyses and audits: verdict first, gaps marked, everything escaped, small enough to send."""

from __future__ import annotations

import base64
import json
import math
import re
import xml.etree.ElementTree as ElementTree

import numpy as np

from transferkit.analysis import plots
from transferkit.report import Report, Table
from transferkit.reporting.html import write_report
from transferkit.statistics import Estimate

from .made_up_runs import AUDIT, BIAS, STRANGE, metrics, write_audit, write_run
from .pages import audit_page, in_order, parsed

RETENTION = Report({"relative_retention": 0.6}, verdict="It kept 60.3 % of what the source could do.")


def test_the_verdicts_come_first_then_gaps_then_numbers(tmp_path):
    page = audit_page(tmp_path, {"retention": RETENTION, "bias": BIAS})
    in_order(
        page.all_text,
        "Audit of runs/ <ants>/ target/ model",  # may break after each slash
        "Not measured: 1 thing bias: The overdispersion of the baseline: no baseline was given.",
        "audit.json",
        "It kept 60.3 % of",
        "213 of 1000 classes",
        "Analysis retention: all numbers",
        "right answers left 60.0 % relative_retention",
        "Analysis bias: all numbers",
        "overdispersion not measured",
        "50 images per class; chance is 50",
        "groups",
        "classes: 60 rows",
        "parameters of bias 0.1.0",
    )


def test_numbers_are_as_their_analyzer_declares_them(tmp_path):
    """In their units, with the interval beside the number, and by the name that people use."""
    metrics = {"top1_source": Estimate(0.5, 0.4, 0.6), "relative_retention": Estimate(math.nan), "other": 3.0}
    text = audit_page(tmp_path, {"retention": Report(metrics)}).all_text
    assert "metric value 95 % interval name in report.json" in text
    assert "top-1 of the source model 50.0 % 40.0 to 60.0 % top1_source" in text
    assert "right answers left not measured – relative_retention" in text
    assert "other 3 – other" in text and "top1_source_low" not in text


def test_every_verdict_leads_to_its_section(tmp_path):
    page = audit_page(tmp_path, {"retention": RETENTION, "bias": BIAS})
    anchors = {link[1:] for link in page.values("href") if link.startswith("#")}
    assert anchors <= set(page.values("id")) and len(page.values("id")) == len(set(page.values("id")))
    assert {"analysis-retention", "details-retention", "question-bias", "details"} <= anchors
    files = {link for link in page.values("href") if not link.startswith("#")}
    assert files == {
        "analyses/retention/report.json", "analyses/bias/report.json", "analyses/bias/groups.csv",
        "analyses/bias/classes.csv",
    }  # fmt: skip
    assert all((tmp_path / "a" / "stamp" / link).is_file() for link in files)


def test_a_run_has_its_training_and_its_analyses(tmp_path):
    run = write_run(tmp_path / "run", lines=metrics())
    for name, report in (("bias", BIAS), ("retention", RETENTION)):
        report.write(run / "analyses" / name, name=name, plugin=name, version="1", parameters={})
    text = parsed(write_report(run)).all_text
    in_order(
        text, "The model tells", "Worth acting on", "Not measured: 1 thing", "reached a top-1", "213 of 1000",
        "It kept 60.3",
        "best top-1", "Analysis bias: all numbers", "Recipe", "Environment", "Words on this page",
    )  # fmt: skip


def test_an_analysis_without_a_report_is_a_gap(tmp_path):
    folder = write_audit(tmp_path / "a", {"bias": BIAS, "retention": RETENTION})
    (folder / "analyses" / "retention" / "report.json").unlink()
    (folder / "analyses" / "bias" / "report.json").write_text("[1]")
    text = parsed(write_report(folder)).all_text
    assert "analyses/retention/report.json is missing" in text
    assert "analyses/bias/report.json is damaged: it holds a list, not an object" in text
    assert "Analysis bias" not in text


def test_folded_tables_are_closed_and_come_last(tmp_path):
    page = audit_page(tmp_path, {"bias": BIAS})
    in_order(page.all_text, "groups", "classes: 60 rows", "name 49", "The first 50 of 60 rows")
    assert "name 50" not in page.all_text and ("open", None) not in page.attributes
    # what was not measured, audit.json, the analysis, in it the classes and the parameters, the words
    assert page.tags.count("details") == 6


def test_numbers_of_a_column_line_up(tmp_path):
    rows = [[0.5, 1e-9, 3, 12.3456], [0.12345, 0.2, None, float("nan")], [1.0, 0.0, 7, 1.0]]
    report = Report(tables={"t": Table(["share", "p", "images", "ratio"], rows)})
    text = audit_page(tmp_path, {"x": report}).all_text
    assert "0.5000 1e-09 3 12.35 0.1235 0.2000 – – 1.0000 0.0000 7 1.00" in text  # 0.12345 is above the half in binary


def test_of_very_many_columns_the_middle_is_left_out(tmp_path):
    columns = [f"c{i}" for i in range(200)]
    report = Report(tables={"t": Table(columns, [[i / 1000 for i in range(200)], ["short row"]])})
    text = audit_page(tmp_path, {"x": report}).all_text
    assert "c19 … c180" in text and "c20 " not in text and "c199" in text
    assert "160 of 200 columns, in the middle, are left out here" in text and "analyses/ x/ t.csv" in text


def test_pictures_have_their_captions_and_galleries_are_columns(tmp_path):
    figures = ["a.svg", "gallery-1.jpg", "gallery-2.jpg", "b.svg", "gone.svg"]
    captions = {"a.svg": "What <a> shows.", "gallery-1.jpg": "ant on espresso & co", "b.svg": ""}
    report = Report(figures=figures, captions=captions)
    folder = write_audit(tmp_path / "a", {"x": report})
    for name in figures[:-1]:
        draw(folder / "analyses" / "x" / name, 10)
    source = write_report(folder).read_text()
    page = parsed(folder / "report.html")
    assert page.values("alt") == ["ant on espresso & co", "gallery-2", "What <a> shows.", "b"]  # photographs first
    assert [value.split(";")[0] for value in page.values("src")] == [
        "data:image/jpeg", "data:image/jpeg", "data:image/svg+xml", "data:image/svg+xml",
    ]  # fmt: skip
    gallery = re.search(r'<div class="gallery">(.*?)</div>', source, flags=re.S)[1]
    assert gallery.count("<img") == 2 and "<figcaption>ant on espresso &amp; co</figcaption>" in gallery
    assert "gone.svg is missing" in page.all_text
    data = base64.b64decode(page.values("src")[2].split(",")[1])
    assert data == (folder / "analyses" / "x" / "a.svg").read_bytes()


def test_pictures_that_no_longer_fit_are_named(tmp_path):
    folder = write_audit(
        tmp_path / "a", {"x": Report(figures=[f"{i}.png" for i in range(5)], captions={"3.png": "Lost."})}
    )
    for i in range(5):
        (folder / "analyses" / "x" / f"{i}.png").write_bytes(bytes(1_500_000 if i < 4 else 100))
    path = write_report(folder)
    page = parsed(path)
    assert len(page.values("src")) == 3  # two large ones and the small one
    assert "The picture analyses/x/3.png is not shown: this page would become too large. Lost." in page.all_text
    assert path.stat().st_size < 5_000_000


def draw(path, count, seed=0):
    """A picture with random contents: a row of tiles, or a scatter of `count` points."""
    rng = np.random.default_rng(seed)
    if path.suffix == ".jpg":
        tiles = [rng.integers(0, 256, (224, 224, 3), dtype=np.uint8) for _ in range(4)]
        heat = rng.random((224, 224))
        plots.tile_row(path, [tiles[0], *(plots.overlay_heat(tile, heat) for tile in tiles[1:])])
        return
    with plots.picture(path) as (_, axes):
        axes.scatter(rng.random(count), rng.random(count), s=12, alpha=0.5)


def strange_report():
    text = " and ".join(STRANGE)
    return Report(
        dict.fromkeys(STRANGE, 1.0),
        {"t": Table(STRANGE, [STRANGE], folded=True), "open": Table(["name"], [[name] for name in STRANGE])},
        ["a.svg"],
        text,
        notes=STRANGE,
        gaps=STRANGE,
        captions={"a.svg": text},
    )


def test_names_are_only_ever_text(tmp_path):
    audit = {**AUDIT, "name": STRANGE[0], "models": {name: {"given": name, "description": name} for name in STRANGE}}
    facts = {"warnings": STRANGE, "findings": [{"expression": STRANGE[0], "value": 1, "holds": True}]}
    folder = write_audit(tmp_path / "a", {'x<b>"': strange_report()}, audit=audit, **facts)
    page = parsed(write_report(folder))
    source = (folder / "report.html").read_text(encoding="utf-8")
    assert "script" not in page.tags and "b" not in page.tags and "<script" not in source
    assert not [key for key, _ in page.attributes if key.startswith("on")]
    assert page.all_text.count("<script>alert(1)</script>") > 8
    assert "🐜" in source and "נמלה" in source
    assert not re.search("[\x00\u202e\ud800-\udfff]", source)


def test_one_file_without_scripts_or_addresses(tmp_path):
    folder = write_audit(tmp_path / "a", {"bias": BIAS, "x": strange_report()})
    draw(folder / "analyses" / "x" / "a.svg", 5)
    page = parsed(write_report(folder))
    assert {"script", "link", "iframe", "object", "base"}.isdisjoint(page.tags)
    assert all(value.startswith("data:") for value in page.values("src"))
    assert not [value for value in page.values("href") if re.match(r"[a-z]+:|/", value)]
    assert "http" not in re.sub(r'src="data:[^"]*"', "", (folder / "report.html").read_text())
    assert "url(" not in (folder / "report.html").read_text()


def test_the_same_folder_gives_the_same_bytes(tmp_path):
    pages = []
    for name in ("one", "two"):
        folder = write_audit(tmp_path / name / "stamp", {"bias": BIAS, "x": strange_report()})
        draw(folder / "analyses" / "x" / "a.svg", 100)
        pages.append(write_report(folder).read_bytes())
        assert write_report(folder).read_bytes() == pages[-1]
    assert pages[0] == pages[1] and b"\r" not in pages[0]


def test_a_thousand_classes_and_sixty_heat_maps_stay_below_five_megabytes(tmp_path):
    columns = ["class", "name", "prevalence", "images", "mean_probability", "relative_retention", "state"]
    rows = [[i, f"a class called {i}", i % 9, 50, i / 1234, i / 2345, "lingering"] for i in range(1000)]
    gallery = [f"gallery-{i:02d}.jpg" for i in range(15)]
    charts = [f"{i}.svg" for i in range(8)]
    reports = {name: Report({"a": 1.0}, {"classes": Table(columns, rows, folded=True)}) for name in ("one", "two")}
    captions = dict.fromkeys(gallery, "ant on espresso, predicted bee (0.93), distraction 0.41")
    reports["three"] = Report({"a": 1.0}, {"classes": Table(columns, rows)}, [*charts, *gallery], captions=captions)
    folder = write_audit(tmp_path / "a", reports)
    for i, name in enumerate([*charts, *gallery]):
        draw(folder / "analyses" / "three" / name, 1000, seed=i)
    path = write_report(folder)
    page = parsed(path)
    assert len(page.values("src")) == 23 and "not shown" not in page.all_text
    assert path.stat().st_size < 5_000_000
    largest = max((folder / "analyses" / "three" / name).stat().st_size for name in charts)
    assert largest < 65_000
    assert json.loads((folder / "analyses" / "one" / "report.json").read_text())["tables"]["classes"]["rows"][999]
    ElementTree.parse(folder / "analyses" / "three" / "0.svg")
