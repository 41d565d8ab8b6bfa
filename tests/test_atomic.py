"""Small JSON files that may be damaged."""

import pytest

from transferkit.atomic import read_json
from transferkit.errors import InputError


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "cannot be read"),
        (b'{"a": 1', "cannot be read"),
        (b"[1, 2]", "holds a list, not a dict"),
        (b"null", "holds a NoneType"),
        (b"\xff\xfe{}", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
    ],
)
def test_damaged(tmp_path, content, says):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=says) as error:
        read_json(tmp_path / "a.json", what="start anew")
    assert str(tmp_path / "a.json") in str(error.value) and "start anew" in str(error.value)


def test_missing_and_fine(tmp_path):
    with pytest.raises(InputError, match="is missing"):
        read_json(tmp_path / "a.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_json(tmp_path)
    (tmp_path / "a.json").write_text("[1]")
    assert read_json(tmp_path / "a.json", list) == [1]
