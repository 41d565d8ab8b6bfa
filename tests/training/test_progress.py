from __future__ import annotations

import time

import pytest

from transferkit.training import epoch_lines, progress
from transferkit.training.progress import Display, shortened


def test_names_are_shortened_only_when_long() -> None:
    assert shortened("ants") == "ants"
    long = shortened("great white shark, white shark, man-eater, man-eating shark")
    assert len(long) <= 24
    assert long.endswith("…")


def test_everything_said_is_in_the_log_even_when_quiet(tmp_path, capsys) -> None:
    display = Display(tmp_path / "run.log", quiet=True)
    display.line("hello")
    display.warn("careful [not markup]")
    text = (tmp_path / "run.log").read_text()
    assert "hello" in text
    assert "warning: careful [not markup]" in text
    assert capsys.readouterr() == ("", "")


def test_other_processes_say_and_write_nothing(tmp_path, capsys) -> None:
    Display(tmp_path / "run.log", main=False).line("hello")
    assert not (tmp_path / "run.log").exists()
    assert capsys.readouterr().err == ""


def test_where_there_is_no_terminal_long_work_speaks_in_lines(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(progress, "PLAIN_EVERY", 0.01)
    with Display(tmp_path / "run.log").task(10, "reading") as bar:
        bar.advance(4)
        time.sleep(0.02)
        bar.advance(3)
    assert "reading: 7/10" in capsys.readouterr().err


TRAIN = {
    "epoch": 1,
    "loss": 0.5,
    "top1": 0.75,
    "terms": {"bss": {"raw": 2.0, "weighted": 0.02}},
    "lr": 0.001,
    "images": 64,
    "images_per_second": 32.0,
    "seconds": 4.0,
}
VAL = {"split": "val", "loss": 0.4, "top1": 0.8, "metrics": {"balanced_accuracy": {"value": 0.79}}}


def test_an_epochs_row_has_the_numbers_people_look_for_under_a_header_that_explains_them(tmp_path, capsys) -> None:
    display = Display(tmp_path / "run.log")
    display.begin_stage(later=320)
    for epoch in (1, 2):
        display.begin_epoch(epoch, 5, steps=4, done=0)
        other = {"split": "conflict", "loss": 1.5, "top1": 0.25}
        display.end_epoch([TRAIN | {"epoch": epoch}, VAL, other], improved=epoch == 1, waited=0.5, images=64)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].split() == ["epoch", "loss", "top-1", "val", "loss", "val", "top-1", "img/s", "time", "left"]
    assert lines[1].startswith("* the best so far")
    # 3 more epochs of 64 images and 320 of later stages at 16 images a second
    assert lines[2].split() == ["2/5", "0.5000", "75.0", "%", "0.4000", "80.0", "%*", "32", "4.0", "s", "32", "s"]
    assert lines[3].split(", ") == [
        "         balanced_accuracy 0.7900",
        "conflict loss 1.5000 top-1 25.0 %",
        "bss 0.02",
        "25 % of the time waiting for images",
    ]
    assert lines[4].split() == ["3/5", "0.5000", "75.0", "%", "0.4000", "80.0", "%", "32", "4.0", "s", "28", "s"]
    assert max(map(len, (*lines[:3], lines[4]))) <= 80
    assert lines[2].index("0.5000") + 6 == lines[0].index("loss") + 4  # the numbers end where their columns do


def test_rows_of_large_and_missing_numbers_fit_80_columns() -> None:
    large = TRAIN | {
        "epoch": 998,
        "loss": 123.4567,
        "top1": float("nan"),
        "images_per_second": 98765.4,
        "seconds": 59999,
    }
    rows = [
        epoch_lines.row([large], 1000, improved=True, left=359_940.0),
        epoch_lines.row([large, VAL | {"top1": 1.0, "loss": 123.4567}], 1000, improved=True, left=None),
    ]
    assert all(len(row) <= 80 for row in rows), rows
    assert "*" not in rows[0] and "100.0 %*" in rows[1]


def test_what_another_process_trained_before_a_stop_is_no_speed() -> None:
    forecast = epoch_lines.Forecast()
    assert forecast.left(100) is None
    forecast.begin_stage(later=50)
    forecast.add(seconds=2.0, images=10)  # the rest of an epoch of 100
    assert forecast.left(100) == 30.0
    forecast.begin_stage(later=0)
    assert forecast.left(100) is None


@pytest.mark.parametrize("due", [True, False])
def test_losses_are_looked_at_now_and_then_only(tmp_path, monkeypatch, due: bool) -> None:
    monkeypatch.setattr(progress, "REFRESH", -1.0 if due else 1000.0)
    assert Display(tmp_path / "run.log").due() is due


def test_work_of_minutes_is_foretold_once_from_what_was_measured(tmp_path, capsys, monkeypatch) -> None:
    clock = iter(range(0, 1000, 5))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(progress, "PLAIN_EVERY", 1e9)
    display = Display(tmp_path / "run.log", quiet=True)
    with display.task(210_000, "target model on composites") as bar:
        for _ in range(3):
            bar.advance(100)  # 5 seconds each
    with display.task(300, "a short thing") as bar:
        bar.advance(100)
    lines = [line for line in (tmp_path / "run.log").read_text().splitlines() if "to do" in line]
    assert len(lines) == 1 and lines[0].endswith("target model on composites: 210,000 to do, about 2 h 54 min left")


def test_a_notebook_has_a_bar_and_keeps_its_warnings() -> None:
    for package in ("ipykernel", "ipywidgets"):
        pytest.importorskip(package)
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    training = """
from transferkit.training.progress import Display
display = Display()
display.begin_epoch(0, 2, steps=10, done=0)
display.step(3, losses={"loss": 0.5}, lr=(1e-3, 1e-3), images=4, waited=0)
display.warn("careful")
display.step(7, losses={"loss": 0.25}, lr=(1e-3, 1e-3), images=8, waited=0)
"""
    cells = [nbformat.v4.new_code_cell(text) for text in (training, "display.end(); display.line('done')")]
    book = nbformat.v4.new_notebook(cells=cells[:1])
    client = nbclient.NotebookClient(book, timeout=120)
    with client.setup_kernel():
        client.execute_cell(book.cells[0], 0)
        (widget,) = [state for state in client.widget_state.values() if state["_model_name"] == "OutputModel"]
        (drawn,) = widget["outputs"]
        assert "7/10" in drawn["data"]["text/plain"] and "loss 0.25" in drawn["data"]["text/plain"]
        book.cells.append(cells[1])
        client.execute_cell(book.cells[1], 1)
    lines = ["".join(one["data"].get("text/plain", "") for one in cell.outputs) for cell in book.cells]
    assert "warning: careful" in lines[0] and "done" in lines[1]
