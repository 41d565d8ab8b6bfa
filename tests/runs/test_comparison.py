import copy
import json
import math
import statistics

import numpy as np
import pytest
from scipy.stats import ttest_1samp, ttest_ind

from tests.analysis.made_up_runs import RECIPE, RESULT, write_run
from transferkit.errors import InputError
from transferkit.report import Report
from transferkit.runs.comparison import Group, compare_runs, difference, dotted_keys, run_folders, short_names


def make(folder, top1=0.9, seed=0, regularizers=(), loss=0.3, lr=0.01, **result):
    recipe = copy.deepcopy(RECIPE) | {"seed": seed}
    recipe["stages"][0] |= {"regularizers": list(regularizers), "optimizer": {"lr": lr}}
    stage = {"best": {"epoch": 4, "top1": top1, "loss": loss}, "last": {"top1": top1 - 0.1, "loss": loss}}
    return write_run(folder, result={"status": "done", "stages": {"target": stage}, **result}, recipe=recipe)


def test_flattens_by_name():
    recipe = {"stages": [{"name": "t", "regularizers": [{"use": "bss", "k": 2}], "freeze": ["a"], "observers": []}]}
    assert dict(dotted_keys(recipe)) == {
        "stages.t.name": "t",
        "stages.t.regularizers.bss.use": "bss",
        "stages.t.regularizers.bss.k": 2,
        "stages.t.freeze": ["a"],
    }


def test_shows_what_differs_and_nothing_else(tmp_path):
    runs = [make(tmp_path / "a", lr=0.01), make(tmp_path / "b", top1=0.95, lr=0.1)]
    found = compare_runs(runs)
    assert found.keys == ["stages.target.optimizer.lr"]
    assert [row.settings[found.keys[0]] for row in found.rows] == [0.01, 0.1]
    assert [(row.best, row.last, row.epoch) for row in found.rows] == [
        (0.9, pytest.approx(0.8), 4),
        (0.95, pytest.approx(0.85), 4),
    ]
    assert found.groups == []


def test_a_plugin_that_some_runs_lack_is_one_column(tmp_path):
    bss, other = {"use": "bss", "weight": 0.1, "k": 1}, {"use": "bss", "weight": 0.2, "k": 3}
    runs = [make(tmp_path / "a"), make(tmp_path / "b", regularizers=[bss]), make(tmp_path / "c", regularizers=[other])]
    found = compare_runs(runs)
    plugin = "stages.target.regularizers.bss"
    assert set(found.keys) == {plugin, f"{plugin}.k"}
    assert [row.settings[plugin] for row in found.rows] == [None, 0.1, 0.2]
    assert [row.settings[f"{plugin}.k"] for row in found.rows] == [None, 1, 3]
    assert compare_runs(runs[:2]).keys == [plugin]


def test_groups_over_seeds_with_paired_differences(tmp_path):
    one, two = {0: 0.90, 1: 0.92, 2: 0.91}, {0: 0.93, 1: 0.93, 2: 0.95}
    runs = [make(tmp_path / f"a{seed}", value, seed) for seed, value in one.items()]
    runs += [make(tmp_path / f"b{seed}", value, seed, lr=0.1) for seed, value in two.items()]
    first, second = compare_runs(runs).groups
    assert first.mean == pytest.approx(0.91) and first.sd == pytest.approx(0.01) and first.difference is None
    differences = [two[seed] - one[seed] for seed in one]
    assert second.difference.mean == pytest.approx(statistics.mean(differences))
    assert second.difference.sd == pytest.approx(statistics.stdev(differences))
    assert second.difference.n == 3 and second.difference.paired
    student = ttest_1samp(differences, 0).confidence_interval(0.95)
    assert (second.difference.low, second.difference.high) == pytest.approx(tuple(student))


def test_repeats_inside_a_run_are_seeds(tmp_path):
    def repeats(values):
        return [
            {"run_dir": "x", "seed": seed, "stages": {"target": {"best": {"top1": value, "loss": 0.1}}}}
            for seed, value in enumerate(values)
        ]

    runs = [
        make(tmp_path / "a", repeats=repeats([0.8, 0.9])),
        make(tmp_path / "b", lr=1.0, repeats=repeats([0.9, 0.9])),
    ]
    first, second = compare_runs(runs).groups
    assert first.values == {0: 0.8, 1: 0.9} and first.mean == pytest.approx(0.85)
    assert second.difference.mean == pytest.approx(0.05) and second.difference.n == 2


def test_without_two_shared_seeds_all_seeds_of_both_are_compared(tmp_path):
    one, two = {0: 0.90, 1: 0.92, 2: 0.91}, {2: 0.93, 3: 0.94, 4: 0.97}
    runs = [make(tmp_path / f"a{seed}", value, seed) for seed, value in one.items()]
    runs += [make(tmp_path / f"b{seed}", value, seed, lr=1.0) for seed, value in two.items()]
    found = compare_runs(runs).groups[1].difference
    welch = ttest_ind(list(two.values()), list(one.values()), equal_var=False).confidence_interval(0.95)
    assert not found.paired and found.sd is None and found.n == 6
    assert (found.low, found.high) == pytest.approx(tuple(welch)) and found.certain == (welch.low > 0)


def test_one_seed_against_several_says_nothing(tmp_path):
    runs = [make(tmp_path / f"a{seed}", seed=seed) for seed in (0, 1)]
    assert compare_runs([*runs, make(tmp_path / "b", seed=2, lr=1.0)]).groups[1].difference is None
    shared = compare_runs([*runs, make(tmp_path / "c", 0.99, seed=1, lr=1.0)]).groups[1].difference
    assert shared.n == 1 and shared.low is None and not shared.certain


def test_of_many_groups_alike_in_law_one_in_twenty_comparisons_has_a_certain_difference():
    certain = []
    for trial in range(600):
        rng = np.random.default_rng(trial)
        values = rng.normal(size=(4, 5))
        groups = [Group({}, dict(enumerate(row)), float(row.mean()), None) for row in values]
        found = [difference(one, groups[0], 3) for one in groups[1:]]
        certain.append(any(one.certain for one in found))
    assert 0.02 <= np.mean(certain) <= 0.065
    planted = Group({}, {seed: 2 * value + 9 for seed, value in groups[0].values.items()}, 9.0, None)
    assert difference(planted, groups[0], 3).certain


def test_by_loss(tmp_path):
    found = compare_runs([make(tmp_path / "a", loss=0.5), make(tmp_path / "b", loss=0.4)], metric="loss")
    assert [row.best for row in found.rows] == [0.5, 0.4]


def add_analysis(run, name, **metrics):
    analysis = run / "analyses" / name
    Report(metrics).write(analysis, name=name, plugin="retention", version="1", parameters={})
    result = json.loads((run / "result.json").read_text())
    result.setdefault("analyses", {})[name] = f"analyses/{name}/report.json"
    (run / "result.json").write_text(json.dumps(result))
    return run


def test_by_what_an_analysis_measured(tmp_path):
    runs = [add_analysis(make(tmp_path / f"a{seed}", seed=seed), "kept.v2", r=0.5 + seed / 10) for seed in (0, 1)]
    runs.append(add_analysis(make(tmp_path / "b", lr=1.0), "kept.v2", r=0.7, other=0.1))
    found = compare_runs(runs, metric="analyses.kept.v2.r")
    assert [(row.best, row.last, row.epoch) for row in found.rows] == [
        (0.5, None, None),
        (0.6, None, None),
        (0.7, None, None),
    ]
    first, second = found.groups
    assert (
        first.mean == pytest.approx(0.55) and second.difference.mean == pytest.approx(0.2) and second.difference.n == 1
    )
    assert [row.best for row in compare_runs(runs, metric="analyses.kept.v2.other").rows] == [None, None, 0.1]


def test_by_what_the_analyses_of_repeated_runs_measured(tmp_path):
    def repeated(name, lr, values):
        measured = {str(seed): value for seed, value in enumerate(values)}
        finite = [value for value in values if value is not None]
        kept = {"mean": statistics.mean(finite), "values": measured}
        repeats = [{"run_dir": "x", "seed": seed, "stages": {}} for seed in range(len(values))]
        return make(tmp_path / name, lr=lr, repeats=repeats, metrics={"retention": {"kept": kept}})

    runs = [repeated("a", 0.1, [0.4, 0.6, None]), repeated("b", 0.2, [0.5, 0.8, 0.9])]
    found = compare_runs(runs, metric="analyses.retention.kept")
    assert [row.best for row in found.rows] == [0.5, pytest.approx(2.2 / 3)]
    first, second = found.groups
    assert first.values == {0: 0.4, 1: 0.6} and first.sd == pytest.approx(math.sqrt(0.02))
    assert second.difference.mean == pytest.approx(0.15) and second.difference.n == 2


def test_a_metric_that_no_run_has(tmp_path):
    run = add_analysis(make(tmp_path / "a"), "retention", kept=0.5)
    (make(tmp_path / "b") / "analyses" / "x").mkdir(parents=True)
    for wrong, right in (("analyses.retention.kpet", "analyses.retention.kept"), ("topl", "top1")):
        with pytest.raises(InputError, match=f'no run has a metric called "{wrong}"; did you mean "{right}"'):
            compare_runs([run, tmp_path / "b"], metric=wrong)


def test_folders_of_runs_expand(tmp_path):
    a, b = make(tmp_path / "ants" / "1"), make(tmp_path / "ants" / "2")
    (tmp_path / "ants" / "notes").mkdir()
    assert run_folders([tmp_path / "ants", a]) == [a, b]


def test_refuses_what_is_no_run_and_unknown_stages(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="not a run folder"):
        compare_runs([tmp_path / "empty"])
    run = make(tmp_path / "a")
    with pytest.raises(InputError, match='did you mean "target"'):
        compare_runs([run], stage="tarket")
    other = write_run(tmp_path / "b", result={"stages": {"else": RESULT["stages"]["target"]}})
    with pytest.raises(InputError, match="no stage in common"):
        compare_runs([run, other])


def test_short_names_stay_distinct():
    names = short_names(["stages.a.optimizer.lr", "stages.b.optimizer.lr", "model.name"])
    assert names == {
        "stages.a.optimizer.lr": "a.optimizer.lr",
        "stages.b.optimizer.lr": "b.optimizer.lr",
        "model.name": "name",
    }
