"""Which class of the source model a folder is: every kind of evidence, what contradicts, what is not enough."""

from __future__ import annotations

import pytest

from transferkit.analysis.class_mapping import imagenet_rows, matching_outputs, nameless, source_class_list, unique
from transferkit.errors import InputError
from transferkit.recipe.schema import Dataset

PLAIN = Dataset(folder="images")
IMAGENET = [str(index) for index in range(1000)]


def numbered(count):
    return [str(index) for index in range(count)]


def labels(path, rows, header="index,name,folder"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return Dataset(folder="images", labels=str(path))


def test_a_class_list_says_which_class_each_folder_is(tmp_path):
    spec = labels(tmp_path / "l.csv", ["2,owl,c", "0,cat,a", "1,dog,b"])
    found = source_class_list(numbered(3), spec, ["c", "a"])
    assert found.names == ["cat", "dog", "owl"]
    assert found.aliases == {"c": "owl", "a": "cat"}
    assert "l.csv" in found.how and not found.assumed


def test_a_class_list_with_wnids_and_names_that_repeat(tmp_path):
    spec = labels(tmp_path / "l.csv", ["0,n02012849,crane", "1,n03126707,crane"], "index,wnid,name")
    found = source_class_list(numbered(2), spec, ["n03126707"])
    assert found.names == ["crane (n02012849)", "crane (n03126707)"]
    assert found.aliases == {"n03126707": "crane (n03126707)"}


def test_folders_called_as_the_classes_of_the_list(tmp_path):
    spec = labels(tmp_path / "l.csv", ["0,cat,a", "1,dog,b"])
    assert source_class_list(numbered(2), spec, ["dog"]).aliases == {"dog": "dog"}


def test_a_class_list_of_another_length(tmp_path):
    spec = labels(tmp_path / "l.csv", ["0,cat,a", "1,dog,b"])
    with pytest.raises(InputError, match="lists 2 classes and the source model has 3"):
        source_class_list(numbered(3), spec, ["a"])


def test_a_folder_that_the_class_list_does_not_have(tmp_path):
    spec = labels(tmp_path / "l.csv", ["0,cat,alpha", "1,dog,beta"])
    with pytest.raises(InputError, match=r'"alpa": no such class in this list.*\n.*did you mean "alpha"'):
        source_class_list(numbered(2), spec, ["alpa", "beta"])


def test_a_class_list_in_another_order_than_the_models_own_names(tmp_path):
    spec = labels(tmp_path / "l.csv", ["0,dog,a", "1,cat,b", "2,owl,c"])
    with pytest.raises(InputError, match='class 0 is "dog" in the list and "cat" in the model'):
        source_class_list(["cat", "dog", "owl"], spec, ["a"])


def test_folders_called_as_the_models_classes():
    found = source_class_list(["cat", "dog", "owl"], PLAIN, ["owl", "cat"])
    assert found.names == ["cat", "dog", "owl"]
    assert found.aliases == {"owl": "owl", "cat": "cat"}


def test_case_underscores_and_dashes_do_not_matter():
    found = source_class_list(["Great White Shark", "sea-snake"], PLAIN, ["great_white_shark", "Sea snake"])
    assert found.aliases == {"great_white_shark": "Great White Shark", "Sea snake": "sea-snake"}


def test_names_that_differ_in_case_only_are_not_guessed():
    with pytest.raises(InputError, match="which class of the source model"):
        source_class_list(["Polish", "polish", "other"], PLAIN, ["POLISH"])


def test_the_models_own_digits_as_names_in_their_own_order():
    found = source_class_list(["0", "1", "10", "2"], PLAIN, ["10", "2"])
    assert [found.names.index(found.aliases[folder]) for folder in ("10", "2")] == [2, 3]


def test_wordnet_ids_need_no_class_list():
    found = source_class_list(IMAGENET, PLAIN, ["n02012849", "n01440764", "n15075141"])
    assert len(found.names) == len(set(found.names)) == 1000
    indices = {folder: found.names.index(name) for folder, name in found.aliases.items()}
    assert indices == {"n01440764": 0, "n02012849": 134, "n15075141": 999}
    assert found.names[134] == "crane (n02012849)"
    assert not found.assumed


@pytest.mark.parametrize("count", [11221, 11821, 21841, 21842, 21843])
def test_the_larger_imagenets(count):
    rows = imagenet_rows(count)
    chosen = [rows[index].folder for index in (0, 7, count - 1)]
    found = source_class_list(numbered(count), PLAIN, chosen)
    assert [found.names.index(found.aliases[folder]) for folder in chosen] == [0, 7, count - 1]


def test_imagenet_by_name_and_by_any_synonym():
    found = source_class_list(IMAGENET, PLAIN, ["tench", "carassius_auratus", "tiger shark, Galeocerdo cuvieri"])
    assert [found.names.index(name) for name in found.aliases.values()] == [0, 1, 3]


def test_a_model_that_has_imagenets_names_and_folders_with_its_ids():
    first_words = [row.name.split(",")[0] for row in imagenet_rows(1000)]
    found = source_class_list(first_words, PLAIN, ["n01440764", "n03126707"])
    assert found.aliases == {"n01440764": "tench", "n03126707": "crane (517)"}
    assert found.names[134] == "crane (134)"


def test_a_name_of_two_imagenet_classes_is_refused():
    with pytest.raises(InputError, match=r'"crane" could be the classes 134 \(n02012849.*517'):
        source_class_list(IMAGENET, PLAIN, ["tench", "crane"])


def test_an_id_that_is_not_among_the_thousand():
    with pytest.raises(InputError, match=r'"n00000001": not among the 1000 classes of ImageNet.*--source-labels'):
        source_class_list(IMAGENET, PLAIN, ["n01440764", "n00000001"])


def test_folders_named_by_number():
    found = source_class_list(numbered(12), PLAIN, ["003", "11"])
    assert found.aliases == {"003": "3", "11": "11"}
    assert not found.assumed


def test_numbers_whose_order_as_text_is_another_are_an_assumption():
    found = source_class_list(numbered(12), PLAIN, ["10", "2"])
    assert found.aliases == {"10": "10", "2": "2"}
    assert found.assumed and "sorted as text" in found.how


def test_a_number_beyond_the_models_classes():
    with pytest.raises(InputError, match=r'"12": .*the classes 0 to 11 only'):
        source_class_list(numbered(12), PLAIN, ["3", "12"])


def test_as_many_folders_as_nameless_classes_is_an_assumption_said_aloud():
    found = source_class_list(numbered(3), PLAIN, ["owl", "cat", "dog"])
    assert found.names == ["cat", "dog", "owl"]
    assert found.assumed and "assumed" in found.how and "sorted" in found.how


def test_no_evidence_names_folders_classes_and_the_way_out():
    with pytest.raises(InputError) as caught:
        source_class_list(numbered(5), PLAIN, ["owl", "cat", "dog"])
    text = str(caught.value)
    assert '"owl", "cat", "dog"' in text and "5 classes without names (0 to 4)" in text
    assert "--source-labels FILE.csv" in text


def test_a_misspelt_folder_of_a_named_model():
    with pytest.raises(InputError, match=r'is the folder "ow1".*such as "cat", "dog", "owl"(.|\n)*did you mean "owl"'):
        source_class_list(["cat", "dog", "owl"], PLAIN, ["cat", "ow1"])


def test_small_parts():
    assert nameless(["0", "1"]) and not nameless(["1", "0"])
    assert unique(["a", "b", "a"]) == ["a (0)", "b", "a (2)"]
    assert imagenet_rows(17) is None


@pytest.mark.real_data
def test_the_ids_give_what_the_class_list_gives(real_data):
    folders = sorted(path.name for path in (real_data / "imagenet").iterdir() if path.is_dir())
    by_id = source_class_list(IMAGENET, PLAIN, folders)
    csv = Dataset(folder="images", labels=str(real_data / "imagenet_classes.csv"))
    by_list = source_class_list(IMAGENET, csv, folders)
    assert by_id.aliases == by_list.aliases and by_id.names == by_list.names


def test_classes_of_the_baseline_are_found_by_name():
    assert matching_outputs(["a", "b"], ["a", "b"]) == [0, 1]
    assert matching_outputs(["a", "b"], ["b", "x", "a"]) == [2, 0]


def test_nameless_classes_are_taken_in_order():
    assert matching_outputs(["ant", "bee"], ["0", "1"]) == [0, 1]
    assert matching_outputs(["0", "1"], ["ant", "bee"]) == [0, 1]


def test_other_classes_are_refused():
    for other in (["a", "c"], ["0", "1", "2"]):
        with pytest.raises(InputError, match="the baseline has other classes than the target"):
            matching_outputs(["a", "b"], other)
