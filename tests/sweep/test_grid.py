"""Grids as people write them."""

import pytest

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.sweep import combinations, split_grid


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("window=3,5,8", ["3", "5", "8"]),
        ("window = 3 , 5", ["3", "5"]),
        ("name=min_comm_cost,flat", ["min_comm_cost", "flat"]),
        ("name=\"a,b\",'c'", ['"a,b"', "'c'"]),
        ("nodes=[n1, n2],[n3]", ["[n1, n2]", "[n3]"]),
        ("task={name: digits},{name: digits, model: cnn}", ["{name: digits}", "{name: digits, model: cnn}"]),
        ("budget=null,1000", ["null", "1000"]),
        ("rate=0.1", ["0.1"]),
        ("seed=1-3,7", ["1", "2", "3", "7"]),
        ("file=a=b.yaml", ["a=b.yaml"]),
    ],
)
def test_values_are_split_at_commas_outside_of_quotes_and_brackets(text, values):
    ((key, found),) = split_grid([text]).items()
    assert key == text.partition("=")[0].strip()
    assert found == values


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["window"], "must look like KEY=VALUE,VALUE"),
        (["=3"], "must look like KEY=VALUE,VALUE"),
        (["window="], "must look like KEY=VALUE,VALUE"),
        (["window=3,[5"], "is no list of YAML values"),
        (["window=3],[5"], "is no list"),
        (["window=,"], "is no list"),
        (["window=3", "window=5"], "is there twice; give all its values at once"),
        (["window=3,5,3"], "the value 3 is there twice"),
        (["seed=one"], "must look like 1-5 or 1,4,7"),
        (["seed=-3"], "must look like 1-5 or 1,4,7"),
        (["seed=5-1"], "names no seed"),
    ],
)
def test_other_texts_are_refused(texts, words):
    with pytest.raises(InvalidInput, match=r"^--grid") as error:
        split_grid(texts)
    assert words in str(error.value)


def test_combinations_let_the_last_key_change_fastest():
    found = list(combinations({"a": [1, 2], "b": ["x", "y"]}))
    assert found == [{"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"}]
