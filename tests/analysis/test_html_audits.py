"""The page of an audit: doubts first, what was audited, what --fail-on asked for."""

from __future__ import annotations

import re

import pytest

from transferkit.reporting.html import write_report

from .made_up_runs import BIAS, write_audit
from .pages import audit_page, in_order, parsed


def test_warnings_are_the_very_first_thing(tmp_path):
    warning = "The source model's own top-1 is near chance (0.1 %): is the class mapping wrong?"
    source = write_report(write_audit(tmp_path / "a", {"bias": BIAS}, warnings=[warning])).read_text()
    assert re.search(r'<main>\n<div class="warn"><strong>Warnings</strong>', source)
    assert "own top-1 is near chance (0.1 %)" in source


def test_what_was_audited(tmp_path):
    text = audit_page(tmp_path, seconds=130).all_text
    in_order(
        text,
        "stamp · status done · seed 7 · 2 min 10 s",
        "source model resnet18 resnet18, 1000 classes",
        "target model runs/<ants>/target/model resnet18, 2 classes",
        "baseline model runs/ants/baseline/model",
        "source images data/imagenet 50 classes of 1000",
        "target images data/ants & bees train 244",
        "audit.json",
        '"v_lo": 0.001',
    )
    assert "stage" not in text.replace("stages/", "")


def test_findings_are_near_the_top(tmp_path):
    found = [
        {"expression": "lingering_high_bias > 20", "value": 61.0, "holds": True},
        {"expression": "bias.high > 0.5 or x < 1", "values": {"bias.high": 0.213, "x": 4}, "holds": False},
        {"expression": "top1 < 0.3", "value": None, "holds": True, "unchecked": True},
    ]
    text = audit_page(tmp_path, {"bias": BIAS}, findings=found).all_text
    in_order(
        text,
        "Conditions of --fail-on",
        "FAILED : lingering_high_bias > 20 holds (61)",
        "passed : bias.high > 0.5 or x < 1 does not hold (bias.high = 0.213, x = 4)",
        "FAILED : top1 < 0.3 cannot be checked (not measured)",
        "Not measured: 1 thing",
        "213 of 1000",
    )
    (tmp_path / "b").mkdir()
    calm = write_audit(tmp_path / "b" / "a", findings=[{"expression": "a > 1", "value": 0, "holds": False}])
    assert '<div class="note"><strong>Conditions of --fail-on' in write_report(calm).read_text()
    assert "--fail-on" not in audit_page(tmp_path / "c").all_text


@pytest.mark.parametrize(("status", "words"), [("failed", "The audit failed"), ("running", "The audit was killed")])
def test_an_unfinished_audit_says_so(tmp_path, status, words):
    text = audit_page(tmp_path, status=status, error="boom <b>").all_text
    in_order(text, words, "boom <b>", "source model resnet18")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"models": {"target": "resnet18"}, "data": null}'])
def test_a_damaged_or_sparse_audit_json_still_gives_a_page(tmp_path, content):
    folder = write_audit(tmp_path / "a", {"bias": BIAS})
    (folder / "audit.json").write_text(content)
    text = parsed(write_report(folder)).all_text
    assert text.startswith(" Audit of") and "213 of 1000" in text
