"""What notebooks declare, and what is refused."""

import nbformat
import pytest

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.notebook.parameters import check_parameters, declared_parameters, read_parameters

CELL = """
seed = 1  # with a comment
budget: int | None = 100000
rate = 0.1
fast = True
name = "a=b # c"
windows = [3, 5]
mixed = [1, "a"]
shares: dict[str, float] = {"a": 1.0}
kind: Literal["x", "y"] = "x"
remark: "Optional[str]" = None
anything = None
twice = 2 * seed
"""


@pytest.fixture
def notebook(tmp_path):
    def make(source, name="n.ipynb"):
        cells = [nbformat.v4.new_markdown_cell("text"), nbformat.v4.new_code_cell(source)]
        cells[1].metadata["tags"] = ["parameters"]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / name)
        return tmp_path / name

    return make


def given(path, name, text):
    declared = declared_parameters(path)
    values = read_parameters(declared, [(name, text)], "-p")
    check_parameters(path, declared, values, "-p")
    return values[name]


def test_parameters_are_found_with_their_defaults(notebook):
    declared = declared_parameters(notebook(CELL))
    assert list(declared) == [
        "seed", "budget", "rate", "fast", "name", "windows", "mixed", "shares", "kind", "remark", "anything", "twice",
    ]  # fmt: skip
    assert declared["name"].default == "a=b # c"
    assert declared["windows"].default == [3, 5]
    assert not declared["twice"].known


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("seed", "3", 3),
        ("budget", "null", None),
        ("rate", "1", 1),
        ("fast", "false", False),
        ("name", "007", "007"),
        ("name", "off", "off"),
        ("name", "2020-01-01", "2020-01-01"),
        ("name", "'3'", "3"),
        ("windows", "[8]", [8]),
        ("mixed", "[a, 1.5]", ["a", 1.5]),
        ("shares", "{b: 2}", {"b": 2}),
        ("kind", "y", "y"),
        ("remark", "null", None),
        ("remark", "12", "12"),
        ("anything", "[x, 1]", ["x", 1]),
        ("twice", "hello", "hello"),
    ],
)
def test_values_that_fit_are_taken(notebook, name, text, value):
    taken = given(notebook(CELL), name, text)
    assert taken == value
    assert type(taken) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "allowed"),
    [
        ("seed", "abc", "a whole number"),
        ("seed", "1.5", "a whole number"),
        ("seed", "true", "a whole number"),
        ("seed", "null", "a whole number"),
        ("seed", "[1]", "a whole number"),
        ("budget", "much", "a whole number or null"),
        ("rate", "fast", "a number"),
        ("fast", "1", "true or false"),
        ("fast", "no", "true or false"),
        ("name", "[a]", "text"),
        ("name", "null", "text"),
        ("windows", "3", "a list, each item a whole number"),
        ("windows", "[a]", "a list, each item a whole number"),
        ("shares", "{a: x}", "a mapping"),
        ("kind", "z", '"x" or "y"'),
        ("remark", "[a]", "text or null"),
    ],
)
def test_values_of_another_type_are_refused_with_what_there_is(notebook, name, text, allowed):
    with pytest.raises(InvalidInput) as error:
        given(notebook(CELL), name, text)
    message = str(error.value)
    assert message.startswith(f"-p {name}: is ")
    assert f"it must be {allowed}" in message
    assert "n.ipynb has seed (a whole number), budget (a whole number or null), rate (a number)" in message


def test_an_unknown_name_is_refused(notebook):
    with pytest.raises(InvalidInput, match=r"-p sead: n\.ipynb has no such parameter; .*Did you mean 'seed'\?"):
        given(notebook(CELL), "sead", "3")


def test_a_notebook_without_such_a_cell_has_no_parameters(tmp_path):
    path = tmp_path / "n.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("seed = 1")]), path)
    with pytest.raises(InvalidInput, match="no such parameter; it has none"):
        given(path, "seed", "1")


def test_magics_are_no_obstacle_and_broken_python_is_told(notebook):
    assert list(declared_parameters(notebook("%matplotlib inline\nseed = 1"))) == ["seed"]
    with pytest.raises(InvalidInput, match="its cell tagged 'parameters' is not valid Python: line 2"):
        declared_parameters(notebook("seed = 1\nbudget = = 2"))


def test_files_that_are_no_notebooks_are_told(tmp_path):
    with pytest.raises(InvalidInput, match=r"there is no such file; shipped are 00-lab\.ipynb"):
        declared_parameters(tmp_path / "missing.ipynb")
    (tmp_path / "text.ipynb").write_text("hello")
    with pytest.raises(InvalidInput, match="is not a notebook"):
        declared_parameters(tmp_path / "text.ipynb")
