import json

import pytest

from transferkit.errors import InputError
from transferkit.report import Report
from transferkit.statistics import Estimate


def test_prints_what_differs_and_what_was_reached(cli, make_run):
    runs = make_run("a", top1=0.9), make_run("b", top1=0.95, lr=0.1)
    lines = cli("compare", *runs).stdout.splitlines()
    assert lines[0] == "stage target, top1 on the validation split"
    assert lines[2].split() == ["run", "lr", "best", "epoch", "last", "time"]
    assert lines[3].split() == ["a", "0.01", "90.00", "%", "5", "80.00", "%", "1", "min", "15", "s"]
    assert lines[4].split()[:4] == ["b", "0.1", "95.00", "%"]


def test_prints_means_over_seeds(cli, make_run):
    runs = [make_run(f"a{seed}", top1=0.9 + seed / 100, seed=seed) for seed in range(3)]
    runs += [make_run(f"b{seed}", top1=0.93 + seed / 50, seed=seed, lr=0.1) for seed in range(3)]
    text = cli("compare", *runs).stdout
    first, second, last = text.splitlines()[-3:]
    assert first.split() == ["0.01", "91.00", "%", "1.00", "%", "3", "–", "–", "–", "–"]
    ends = ["+1.52", "%", "to", "+6.48", "%"]  # 4 ± 4.303 · 1 / √3
    assert second.split() == ["0.1", "95.00", "%", "2.00", "%", "3", "+4.00", "%", "1.00", "%", "3", *ends]
    assert last == "the difference's interval leaves out 0: it is certain"


def test_one_seed_each_claims_nothing(cli, make_run):
    assert "one seed each" in cli("compare", make_run("a", top1=0.9), make_run("b", top1=0.95, lr=0.1)).stderr
    several = cli("compare", *(make_run(f"c{seed}-{lr}", top1=0.9 + seed / 9, seed=seed, lr=lr) for seed, lr in LITTLE))
    assert (
        several.stdout.splitlines()[-1] == "0 of 2 differences certain: an interval leaves out 0; the 2 intervals "
        "hold all at once (Bonferroni)"
    )


LITTLE = [(0, 0.1), (1, 0.1), (0, 0.2), (1, 0.2), (2, 0.3), (3, 0.3)]


def test_json_has_full_keys(cli, make_run):
    runs = [make_run(f"a{seed}", seed=seed, lr=lr) for seed, lr in ((0, 0.1), (1, 0.1), (2, 0.2))]
    found = json.loads(cli("compare", *runs, "--json", "--metric", "loss").stdout)
    assert found["keys"] == ["seed", "stages.target.optimizer.lr"]
    assert [run["values"] for run in found["runs"]] == [{"0": 0.3}, {"1": 0.3}, {"2": 0.3}]
    assert [group["n"] for group in found["groups"]] == [2, 1]
    assert found["groups"][1]["difference"] is None


def test_a_folder_of_runs_and_an_unfinished_one(cli, make_run):
    make_run("a")
    folder = make_run("b", status="stopped", lr=0.2).parent
    lines = cli("compare", folder).stdout.splitlines()
    assert lines[2].endswith("status") and lines[3].endswith("done") and lines[4].endswith("stopped")


def test_the_same_seed_twice_is_said(cli, make_run):
    result = cli("compare", make_run("a"), make_run("b"), make_run("c", seed=1))
    assert "count once" in result.stderr


def test_prints_what_an_analysis_measured(cli, make_run):
    def measured(mean, values):
        return {
            "repeats": [{"seed": seed} for seed in values],
            "metrics": {"a": {"m": {"mean": mean, "values": values}}},
        }

    runs = [make_run("a"), make_run("b", lr=0.1)]
    for run, content in zip(
        runs, (measured(0.5, {"0": 0.4, "1": 0.6}), measured(0.75, {"0": 0.7, "1": 0.8})), strict=True
    ):
        (run / "result.json").write_text(json.dumps(json.loads((run / "result.json").read_text()) | content))
    lines = cli("compare", *runs, "--metric", "analyses.a.m").stdout.splitlines()
    assert lines[0] == "analyses.a.m"
    assert [line.split() for line in lines[2:4]] == [
        ["run", "lr", "value", "time"],
        ["a", "0.01", "0.5", "1", "min", "15", "s"],
    ]
    ends = ["−0.3853", "to", "+0.8853"]
    assert lines[-2].split() == ["0.1", "0.75", "0.07071", "2", "+0.25", "0.07071", "2", *ends]
    found = json.loads(cli("compare", *runs, "--metric", "analyses.a.m", "--json").stdout)
    assert [run["best"] for run in found["runs"]] == [0.5, 0.75] and found["metric"] == "analyses.a.m"


def test_refusals(cli, make_run, tmp_path):
    with pytest.raises(InputError, match="not a run folder"):
        cli("compare", tmp_path)
    with pytest.raises(InputError, match='did you mean "target"'):
        cli("compare", make_run("a"), "--stage", "targt")
    with pytest.raises(InputError, match='no run has a metric called "top9"; did you mean "top1"') as refused:
        cli("compare", tmp_path / "runs" / "a", "--metric", "top9")
    assert refused.value.exit_code == 2


def test_what_an_analysis_measured_is_named_in_its_unit(cli, make_run):
    runs = []
    for lr, values in ((0.1, (0.5, 0.75)), (0.2, (0.25, 0.5))):
        for seed, value in enumerate(values):
            run = make_run(f"{lr}-{seed}", seed=seed, lr=lr)
            report = Report({"top1_source": Estimate(value, 0.0, 1.0)})
            report.write(run / "analyses" / "a", name="a", plugin="retention", version="1", parameters={})
            result = json.loads((run / "result.json").read_text())
            result["analyses"] = {"a": "analyses/a/report.json"}
            (run / "result.json").write_text(json.dumps(result))
            runs.append(run)
    lines = cli("compare", *runs, "--metric", "analyses.a.top1_source").stdout.splitlines()
    assert lines[0] == "analyses.a.top1_source: top-1 of the source model"
    assert "50.0 %" in lines[3]
    gap = ["−25.0", "points", "0.0", "%", "2", "−25.0", "points", "to", "−25.0", "points"]
    assert lines[-2].split() == ["0.2", "37.5", "%", "17.7", "%", "2", *gap]
    assert lines[-1].endswith("it is not certain")  # two pairs that happen to agree
