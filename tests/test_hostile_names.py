"""Names that cannot be shown, through every way out: terminal, log, JSON, CSV, tables, pages and pictures."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transferkit.cli.detections import Detection, DetectionWriter
from transferkit.cli.predictions import Answer, Writer
from transferkit.report import Report, Table, csv_text, json_text, write_json
from transferkit.system import terminal as output
from transferkit.system.standard_streams import ESCAPES
from transferkit.training.progress import Display
from transferkit.words.text import encodable, one_line, printable, printable_json

ROOT = Path(__file__).parent.parent
HIDDEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
PIECES = [
    "\x1b[31m",
    "\x1b]0;owned\x07",
    "\r",
    "\n",
    "\t",
    "\x9b2J",
    "\udce9",
    "\udcff",
    "\u202e",
    "\u2066",
    "\x7f",
    "\x00",
]
ORDINARY = ["ant", "Löwenzahn", "蒲公英", "🌼", "=1+1", "-0.5", "@x", "a,b", '"', "\\", "<b>", "e\u0301", " "]
BAD = "\x1b[31m\udce9"
RNG = random.Random(0)
NAMES = [
    *PIECES,
    *("".join(RNG.choices(PIECES + ORDINARY, k=RNG.randrange(1, 7))) for _ in range(300)),
]


def shown(text):
    """Nothing in it that a terminal would obey, and UTF-8 throughout."""
    assert not HIDDEN.search(text), ascii(text)
    text.encode("utf-8")
    return text


def test_texts():
    for name in NAMES:
        assert "\n" not in shown(one_line(name)) and "\t" not in one_line(name)
        assert shown(printable(name)).count("\n") == name.count("\n")
        assert one_line(one_line(name)) == one_line(name)
        assert json.loads(shown(printable_json(json.dumps(encodable(name), ensure_ascii=False)))) == encodable(name)
        if not HIDDEN.search(name):
            assert printable(name) == name == encodable(name)


def test_json(tmp_path, capsys):
    value = {name: [name, {"x": float("nan")}] for name in NAMES}
    found = json.loads(shown(json_text(value)))
    assert found == {encodable(name): [encodable(name), {"x": None}] for name in NAMES}
    write_json(tmp_path / "a.json", value)
    output.print_json(value)
    assert json.loads((tmp_path / "a.json").read_bytes()) == json.loads(shown(capsys.readouterr().out)) == found


def test_csv_and_reports(tmp_path):
    rows = [[name, -0.5, "-0.5", index] for index, name in enumerate(NAMES)]
    back = list(csv.reader(io.StringIO(shown(csv_text(rows)), newline="")))
    for given, (name, *numbers, index) in zip(rows, back, strict=True):
        assert not name.startswith(("=", "@", "+", "\t", "\n")) or name == given[0] == "+0.5"
        assert name.removeprefix("'") in (printable(given[0]), printable(given[0]).removeprefix("'"))
        assert (numbers, index) == (["-0.5", "-0.5"], str(given[3]))
    names = [name.replace("/", "").replace("\\", "").replace("\0", "") for name in NAMES]
    report = Report(dict.fromkeys(NAMES, 1.0), {"t": Table(NAMES[:3], rows)}, verdict="".join(NAMES), notes=names)
    report.write(tmp_path, name="a", plugin="p", version="1", parameters=dict.fromkeys(NAMES, NAMES[0]))
    for path in tmp_path.iterdir():
        shown(path.read_bytes().decode("utf-8"))


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_predictions_and_detections(form):
    classes = NAMES[:40]
    for kind, more, rows in (
        (Writer, [], [Answer(Path("a" + name), [(name, 0.5)]) for name in NAMES]),
        (
            DetectionWriter,
            [classes],
            [Detection(Path("a" + name), [(name, 0.5)], "model", True, 0.1, 0.2, name, 0) for name in NAMES],
        ),
    ):
        file = io.StringIO(newline="")
        writer = kind(form, file, 1, classes, *more)
        writer.write(rows)
        writer.close()
        text = shown(file.getvalue())
        if form == "json":
            count = len(json.loads(text))
        elif form == "csv":
            count = len(list(csv.DictReader(io.StringIO(text, newline=""))))
        else:
            count = text.count("\n") - 1
        assert count == len(NAMES)


def test_lines_tables_and_the_log(tmp_path, capsys):
    display = Display(tmp_path / "run.log")
    for name in NAMES:
        display.line(f"stage {name}")
        display.warn(name)
        output.say(name)
        output.note(name)
    output.print_table(NAMES[:2], [[name, "1"] for name in NAMES], right=NAMES[1:2])
    said = capsys.readouterr()
    shown(said.out)
    shown(said.err)
    shown((tmp_path / "run.log").read_bytes().decode("utf-8"))
    assert len(output.plain_table(["a"], [[one_line(name)] for name in NAMES]).splitlines()) == len(NAMES) + 1


def main(*arguments, **environment):
    code = "import sys; from transferkit.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(os.fsencode, arguments)],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "utf-8:strict"} | environment,
        check=False,
    )


@pytest.mark.parametrize(
    "arguments", [("predict", "\x1b[31m\udce9"), ("plan", "\x1b[31m\udce9.yaml"), ("--\x1b[31m\udce9",)]
)
def test_what_a_command_line_was_given_is_repeated_without_harm(arguments):
    for encoding in ("utf-8:strict", "ascii:strict"):
        done = main(*arguments, PYTHONIOENCODING=encoding)
        text = shown(done.stderr.decode(encoding.split(":")[0]))
        assert done.returncode == 2 and "Traceback" not in text, text


def test_a_stream_that_knows_few_characters_gets_valid_json():
    text = json.dumps("Löwenzahn 🌼", ensure_ascii=False).encode("ascii", ESCAPES).decode()
    assert json.loads(text) == "Löwenzahn 🌼"


@pytest.fixture
def hostile(tmp_path):
    """data/{train,val}/CLASS/FILE.png with names that are no text."""
    rng = np.random.default_rng(0)
    for split in (b"train", b"val"):
        for name in (b"caf\xe9", b"=cmd", b"\x1b[31mred\n"):
            folder = os.path.join(os.fsencode(tmp_path), b"data", split, name)
            os.makedirs(folder)
            for number in range(2):
                picture = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
                picture.save(os.fsdecode(os.path.join(folder, b"\xff\x1b%d\n.png" % number)))
    return tmp_path / "data"


def test_every_door_reads_such_folders_by_the_same_names(hostile, tmp_path, capsys):
    from transferkit.cli.doctor_data import check_dataset
    from transferkit.cli.evaluate import as_json, measure, open_data
    from transferkit.data.sources import open_split
    from transferkit.model.folder import open_model, save_model
    from transferkit.recipe.counting import class_counts
    from transferkit.recipe.schema import Dataset
    from transferkit.testing import tiny_model

    spec = {"d": Dataset.model_validate({"folder": str(hostile)})}
    source = open_split("d", spec, "train")
    expected = [r"\x1b[31mred\x0a", "=cmd", r"caf\xe9"]
    assert source.classes == expected and source.ids[0] == r"\x1b[31mred\x0a/\xff\x1b0\x0a.png"
    assert list(class_counts("d", spec)["train"]) == expected
    assert source.fingerprint() and source.image(0).size == (8, 8)
    model, _ = open_model(save_model(tmp_path / "model", tiny_model(source.classes), None, {}))
    assert model.classes == expected
    found = as_json(measure(model, open_data(hostile, "val", model.classes)), model.classes)
    assert list(found["per_class"]) == expected
    shown(json_text(check_dataset("d", spec) | found))


def test_two_folders_that_are_shown_alike_are_refused(hostile):
    from transferkit.data.folders import scan
    from transferkit.errors import InputError

    (hostile / "train" / r"caf\xe9").mkdir()
    with pytest.raises(InputError, match="two class folders that are both shown as"):
        scan(hostile / "train")


def test_there_is_one_writer_and_one_reader():
    """What is written for machines goes through report.py, what is opened as an image through images.py."""
    only = {
        r"csv\.(writer|DictWriter)|ensure_ascii=False|json\.dump\(": {
            "transferkit/report.py",
            *(f"transferkit/words/{name}.py" for name in ("doors", "formats")),  # what people read
        },
        r"Image\.open\(": {
            "transferkit/data/images.py",
            "transferkit/data/marks.py",
            "transferkit/deploy/beside/predict.py",  # it goes where transferkit is not
        },
    }
    for pattern, places in only.items():
        found = {
            path.relative_to(ROOT).as_posix()
            for folder in ("transferkit", "plugins")
            for path in (ROOT / folder).rglob("*.py")
            if re.search(pattern, path.read_text(encoding="utf-8"))
        }
        assert found <= places, found - places
