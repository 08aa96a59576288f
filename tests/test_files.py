"""What is written over and what is not, and how a refusal names the option."""

import os
import stat

import pytest

from ilmpq import files
from ilmpq.errors import NotWritable, UsageError
from ilmpq.files import check_target, given_by, write_atomically


@pytest.fixture
def folder(tmp_path):
    """A folder, a pipe, a file, and links to them."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("before")
    for name in ("folder", "pipe", "file"):
        (tmp_path / f"link to {name}").symlink_to(tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("name", ["folder", "pipe", "link to folder", "link to pipe"])
def test_what_is_no_regular_file_is_not_replaced(folder, name):
    before = {p.name: stat.S_IFMT(p.lstat().st_mode) for p in folder.iterdir()}
    kind = "a folder" if "folder" in name else "a device or a pipe"
    with pytest.raises(UsageError, match=f"{name} cannot be written: it is {kind}; choose another place with --out"):
        write_atomically(folder / name, b"data")
    with pytest.raises(UsageError, match=f"it is {kind}; choose another place with --csv"):
        check_target(folder / name, "--csv")
    assert {p.name: stat.S_IFMT(p.lstat().st_mode) for p in folder.iterdir()} == before


@pytest.mark.parametrize("name", ["file", "link to file", "new", "new/folder/new"])
def test_files_are_replaced_and_made_and_a_check_makes_nothing(folder, name):
    before = sorted(folder.rglob("*"))
    check_target(folder / name)
    assert sorted(folder.rglob("*")) == before
    write_atomically(folder / name, "after")
    assert (folder / name).read_text() == "after"


def test_a_file_is_no_folder_to_write_in(folder):
    with pytest.raises(UsageError, match="file is a file; choose another place with --png"):
        check_target(folder / "file" / "deep" / "x", "--png")


@pytest.mark.parametrize("name", ["file", "link to file"])
def test_what_a_command_reads_is_not_replaced(folder, name):
    with pytest.raises(UsageError, match=f"{name} cannot be written: it is read here; choose another place with --csv"):
        check_target(folder / name, "--csv", [folder / "absent", folder, folder / "link to file"])
    check_target(folder / "new", "--csv", [folder / "new", folder / "file"])


def test_a_folder_that_permits_nothing_is_told(folder, monkeypatch):
    monkeypatch.setattr(files.os, "access", lambda path, mode: False)
    with pytest.raises(UsageError, match="x cannot be written: .* does not permit it; choose another place with --csv"):
        check_target(folder / "new" / "x", "--csv")


def test_a_refusal_names_the_option_that_gave_the_place():
    with (
        pytest.raises(UsageError, match="^x cannot be written: why; choose another place with --csv$"),
        given_by("--csv"),
    ):
        raise NotWritable("x", "why")
