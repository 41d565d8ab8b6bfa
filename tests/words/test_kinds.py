"""Values and exceptions in words: no name of a Python class where a person wrote a file, and no empty reason."""

from __future__ import annotations

import ast
from collections import OrderedDict

import pytest

from tests.house import files
from transferkit.errors import InputError
from transferkit.system.atomic import read_json
from transferkit.words.kinds import kind_named, kind_of, reason, type_of

# what these say is written by hand, or by the operating system: it is never empty
SAYS_WHY = {
    "InputError", "StorageError", "TransferkitError", "NonFiniteError", "BadImage", "Unfit", "Interrupted", "OSError",
    "FileNotFoundError", "csv.Error", "UnicodeDecodeError", "tarfile.TarError", "zipfile.BadZipFile",
    "safetensors.SafetensorError", "re.error", "RecursionError", "OverflowError", "FormParserError",
    "parity.ParityError",
}  # fmt: skip
KNOWN = {
    ("transferkit.model.weights", "RuntimeError"),  # torch's list of tensors, of which every line counts
    ("transferkit.deploy.monitor", "AttributeError KeyError TypeError"),  # after its kind
    ("transferkit.deploy.lossy", "KeyError"),  # which always names its key
    ("transferkit_across.entries", "OSError ValueError"),
}


@pytest.mark.parametrize(
    ("value", "kind", "python"),
    [
        (None, "null", "None"),
        (True, "true or false", "a bool"),
        (3, "a number", "an int"),
        (0.5, "a number", "a float"),
        ("x", "text", "a str"),
        ([1], "a list", "a list"),
        ({"a": 1}, "an object", "a dict"),
        (OrderedDict(), "an object", "an OrderedDict"),
        (b"x", "a bytes", "a bytes"),
    ],
)
def test_what_a_value_is(value, kind, python):
    assert (kind_of(value), type_of(value)) == (kind, python)
    assert isinstance(value, bytes) or kind_named(type(value)) == kind


@pytest.mark.parametrize("text", ["null", "3", "0.5", "true", '"x"', "[1]", "{}"])
@pytest.mark.parametrize("kind", [dict, list])
def test_a_file_of_another_kind_is_said_in_the_words_of_json(tmp_path, text, kind):
    path = tmp_path / "file.json"
    path.write_text(text)
    try:
        assert isinstance(read_json(path, kind), kind)
    except InputError as error:
        said = str(error)
        assert said == f"{path} is damaged: it holds {kind_of(ast.literal_eval(_python(text)))}, not {kind_named(kind)}"
        assert not any(name in said for name in ("NoneType", "dict", "str", "int", "float", "bool"))


def _python(text):
    return {"null": "None", "true": "True"}.get(text, text)


def test_an_exception_says_something():
    assert reason(ValueError("two\nlines")) == "two"
    assert reason(AssertionError()) == "AssertionError without a reason" == reason(AssertionError("  \n"))


def test_nobody_writes_a_text_that_may_be_empty_behind_a_colon():
    """An exception that a library may raise without a word goes through `reason` or `told`, whoever speaks of it."""
    found = set()
    for module, path in files().items():
        for handler in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(handler, ast.ExceptHandler) and handler.name and _kinds(handler) - SAYS_WHY:
                bare = (n.value for n in ast.walk(handler) if isinstance(n, ast.FormattedValue) and n.conversion == -1)
                if any(isinstance(value, ast.Name) and value.id == handler.name for value in bare):
                    found.add((module, " ".join(sorted(_kinds(handler)))))
    assert found == KNOWN


def _kinds(handler):
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return {ast.unparse(kind) for kind in kinds if kind is not None}
