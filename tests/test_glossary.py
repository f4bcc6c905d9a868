"""Each object that the glossary names exists."""

import re
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path

import pytest

GLOSSARY = Path(__file__).parent.parent / "docs" / "glossary.md"
ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in GLOSSARY.read_text(encoding="utf-8").splitlines()
    if line.startswith("|") and "`" in line
]


def found(path):
    """The object at a dotted path: a module, then attributes; also fields that have no default."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        try:
            thing = import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for name in parts[length:]:
            declared = {f.name for f in fields(thing)} if is_dataclass(thing) else getattr(thing, "model_fields", {})
            if name in declared:
                return True
            thing = getattr(thing, name)
        return True
    raise AssertionError(f"no module in {path}")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_named_object_exists(row):
    assert len(row) == 3
    (path,) = re.findall(r"`([^`]+)`", row[2])
    assert found(path if path.startswith("fl_service.") else f"aiotwin_nb.{path}")


def test_the_slides_symbols_are_all_there():
    symbols = {row[0] for row in ROWS}
    assert {"Ψ_gr", "Ψ_rc", "Ψ_pr", "Ψ_rec", "ΔR", "W", "S", "L", "B"} <= symbols


def test_a_name_that_is_not_there_would_be_seen():
    with pytest.raises(AttributeError):
        found("aiotwin_nb.planning.costs.nothing")
    with pytest.raises(AssertionError):
        found("nowhere.at.all")
