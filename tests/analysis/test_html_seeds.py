"""The page of a run that was repeated with several seeds."""

from __future__ import annotations

import math

import pytest

from transferkit.plugins.distributions import Owner
from transferkit.plugins.registry import Registry
from transferkit.report import Metric, Report
from transferkit.reporting.html import write_report
from transferkit.runs.over_seeds import summarise

from .made_up_runs import RECIPE, RESULT, write_run
from .pages import in_order, parsed


class Keeps:
    metrics = (Metric("kept", "kept", "number", "better", "How much?", interval=True), "rare")

    def analyze(self, session):
        return None


@pytest.fixture(autouse=True)
def declared(monkeypatch):
    """The analyzer that wrote the reports, installed."""
    registry = Registry()
    registry.add("analyzer", "retention", Keeps, Owner("test", "test-plugins", "1.0"))
    monkeypatch.setattr("transferkit.plugins.files.known", lambda: registry)


SEEDS = {3: (0.4, 0.90), 4: (0.6, 0.92), 5: (0.5, 0.94)}


def write_repeated(folder, verdict="It <i>holds</i>.", seeds=SEEDS):
    repeats = []
    for seed, (kept, top1) in seeds.items():
        run = write_run(folder / "repeats" / f"seed-{seed}")
        metrics = {
            "kept": kept,
            "kept_low": kept - 0.1,
            "kept_high": kept + 0.1,
            "rare": math.nan if seed == 3 else kept,
        }
        report = Report(metrics | {"never": math.nan}, verdict=verdict, gaps=["No baseline was given."])
        report.write(run / "analyses" / "retention", name="retention", plugin="retention", version="1", parameters={})
        write_report(run)
        epoch = {"epoch": 3, "top1": top1, "loss": 0.3, "split": "val"}
        evaluations = {
            "val": {"top1": top1, "loss": 0.3, "images": 153},
            "squares": {"top1": 0.5, "loss": 1.1, "images": 9},
        }
        images = {"images": {"train": 9, "val": 153}, "seconds": 2.0, "warnings": []}
        last = epoch | {"top1": top1 - 0.1, "epoch": 4}
        stage = RESULT["stages"]["target"] | images | {"best": epoch, "last": last, "evaluations": evaluations}
        analyses = {"retention": "analyses/retention/report.json"}
        repeats.append({"run_dir": str(run), "seed": seed, "stages": {"target": stage}, "analyses": analyses})
    content = summarise(folder, repeats) | {"status": "done"}
    return write_run(folder / "moved" / "stamp", content, RECIPE | {"repeat": len(seeds)}), content


@pytest.fixture
def run(tmp_path):
    """A repeated run, whose folder was moved after it ended."""
    made, _ = write_repeated(tmp_path)
    (tmp_path / "repeats").rename(made / "repeats")
    return made


def test_one_table_per_analysis(run):
    page = parsed(write_report(run))
    # by hand: mean 0.5, sd 0.1; t(0.975, 2) · 0.1 / √3 = 0.2484
    assert "kept 0.50 ± 0.10 0.25 to 0.75 3 0.4 0.6 0.5" in page.all_text
    # of two seeds: mean 0.55, sd 0.0707; t(0.975, 1) · 0.05 = 0.6353
    assert "rare 0.550 ± 0.071 -0.085 to 1.185 2 of 3 – 0.6 0.5" in page.all_text
    assert "never not measured – 0 of 3 – – –" in page.all_text
    in_order(page.all_text, "Seeds", "The saved models", "Analysis retention, over 3 seeds", "what the report of each")
    assert "seeds 3, 4, 5" in page.all_text and "i" not in page.tags
    assert page.all_text.count("It <i>holds</i>.") == 3


def test_intervals_over_images_are_not_averaged(run):
    text = parsed(write_report(run)).all_text
    assert "ends of the intervals over images: 2 rows" in text
    assert "kept_low 0.3 0.5 0.4" in text and "kept_high 0.5 0.7 0.6" in text
    assert "kept_low 0.40 ±" not in text
    assert "They say nothing about other images" in text


def test_links_lead_to_each_seed(run):
    page = parsed(write_report(run))
    links = page.values("href")
    assert "#analysis-retention" in links and "analysis-retention" in page.values("id")
    for seed in SEEDS:
        path, _, anchor = next(link for link in links if f"seed-{seed}/report.html#" in link).partition("#")
        assert (run / path).is_file()
        assert anchor in parsed(run / path).values("id")
    (run / "repeats" / "seed-4" / "report.html").unlink()
    assert not [link for link in parsed(write_report(run)).values("href") if "seed-4" in link]


def test_stages_have_best_last_and_every_data_set(run):
    text = parsed(write_report(run)).all_text
    assert "target 92.0 ± 2.0 % 82.0 ± 2.0 % 0.3 ± 0 0.3 ± 0 153" in text
    assert "seed 4 target 92.0 % 4 82.0 % 0.3 0.3" in text
    assert "target squares 50.0 ± 0.0 % 1.1 ± 0 9 3" in text
    assert "The last epoch (5) has 82.0 ± 2.0 %" in text


def test_without_verdicts_what_is_missing_is_said(tmp_path):
    made, _ = write_repeated(tmp_path, verdict=None)
    (tmp_path / "repeats").rename(made / "repeats")
    assert parsed(write_report(made)).all_text.count("No baseline was given.") == 3


def test_a_run_without_analyses_or_with_files_gone(tmp_path):
    made, content = write_repeated(tmp_path)  # its repeats/ lie elsewhere
    page = parsed(write_report(made))
    assert "kept 0.50 ± 0.10" in page.all_text and "what the report" not in page.all_text
    assert not [link for link in page.values("href") if "repeats" in link]
    del content["metrics"]
    text = parsed(write_report(write_run(tmp_path / "old", content))).all_text
    assert "over 3 seeds" in text and "Analys" not in text and "Student" not in text
