"""Copies of the shipped notebooks and labs: never lost, never stale without a reason."""

import json

import pytest

from aiotwin_nb.errors import InvalidInput
from aiotwin_nb.notebook import copies
from aiotwin_nb.notebook.copies import MANIFEST, copy_shipped


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """Shipped files that a test may change, as a new version would."""
    root = tmp_path / "shipped"
    for name, text in (
        ("notebooks/01.ipynb", "one"),
        ("notebooks/02.ipynb", "two"),
        ("labs/a.yaml", "lab"),
        ("labs/make.py", ""),
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(copies, "shipped", lambda folder: root / folder)
    return root


def test_everything_is_copied_once(shipped, tmp_path):
    folder = tmp_path / "mine"
    first = copy_shipped(folder)
    assert first.copied == ["01.ipynb", "02.ipynb", "labs/a.yaml"]
    assert first.lines(folder) == [f"{folder}: copied 01.ipynb, 02.ipynb, labs/a.yaml"]
    assert (folder / "labs" / "a.yaml").read_text() == "lab"
    again = copy_shipped(folder)
    assert again.current == ["01.ipynb", "02.ipynb", "labs/a.yaml"]
    assert again.lines(folder) == []


def test_what_was_changed_stays_and_what_was_not_is_updated(shipped, tmp_path):
    folder = tmp_path / "mine"
    copy_shipped(folder)
    (folder / "01.ipynb").write_text("my work")
    for name in ("01.ipynb", "02.ipynb"):
        (shipped / "notebooks" / name).write_text("new version")
    result = copy_shipped(folder)
    assert (result.kept, result.updated, result.current) == (["01.ipynb"], ["02.ipynb"], ["labs/a.yaml"])
    assert (folder / "01.ipynb").read_text() == "my work"
    assert (folder / "02.ipynb").read_text() == "new version"
    told = "\n".join(result.lines(folder))
    assert "updated to this version 02.ipynb" in told
    assert "left alone, as you changed them: 01.ipynb (--force replaces them)" in told


def test_a_changed_copy_stays_changed_in_every_later_version(shipped, tmp_path):
    folder = tmp_path / "mine"
    copy_shipped(folder)
    (folder / "01.ipynb").write_text("my work")
    for version in ("v2", "v3"):
        (shipped / "notebooks" / "01.ipynb").write_text(version)
        assert copy_shipped(folder).kept == ["01.ipynb"]
    assert (folder / "01.ipynb").read_text() == "my work"


def test_force_replaces_changed_copies(shipped, tmp_path):
    folder = tmp_path / "mine"
    copy_shipped(folder)
    (folder / "01.ipynb").write_text("my work")
    assert copy_shipped(folder, force=True).updated == ["01.ipynb"]
    assert (folder / "01.ipynb").read_text() == "one"


@pytest.mark.parametrize("notes", [None, "no json", "[1]"])
def test_without_notes_files_count_as_changed(shipped, tmp_path, notes):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "01.ipynb").write_text("from an older version, or mine")
    if notes:
        (folder / MANIFEST).write_text(notes)
    assert copy_shipped(folder).kept == ["01.ipynb"]
    assert set(json.loads((folder / MANIFEST).read_text())) == {"02.ipynb", "labs/a.yaml"}


def test_a_deleted_copy_comes_back(shipped, tmp_path):
    folder = tmp_path / "mine"
    copy_shipped(folder)
    (folder / "02.ipynb").unlink()
    assert copy_shipped(folder).copied == ["02.ipynb"]


def test_a_file_is_no_folder(shipped, tmp_path):
    (tmp_path / "mine").write_text("")
    with pytest.raises(InvalidInput, match="is a file; give a folder"):
        copy_shipped(tmp_path / "mine")
