"""Files appear whole or not at all."""

import json
import multiprocessing
import resource
from pathlib import Path

import pytest

from utils.files import atomic_file, atomic_folder, fsync_path, temporary_beside, write_json, write_text


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_replaces_the_old_one_at_the_end(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with atomic_file(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
        assert temporary.suffix == ".txt" and temporary.parent == tmp_path and temporary.name.startswith(".")
        written = temporary.stat().st_ino
    assert target.stat().st_ino == written  # moved, not copied: a copy can be half done
    assert target.read_text() == "new" and names(tmp_path) == {"a.txt"}


def test_names_that_are_no_text_can_be_written(tmp_path):
    write_text(tmp_path / "a.txt", "caf\udce9")  # as Python holds the byte e9 of a name
    assert (tmp_path / "a.txt").read_text() == "caf\\udce9"


def test_folders_on_the_way_are_made(tmp_path):
    write_text(tmp_path / "x" / "y" / "a.txt", "é")
    assert (tmp_path / "x" / "y" / "a.txt").read_bytes() == "é".encode()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(error):
        with atomic_file(target) as temporary:
            temporary.write_text("half")
            raise error
    assert target.read_text() == "old" and names(tmp_path) == {"a.txt"}


def test_a_folder_appears_whole(tmp_path):
    target = tmp_path / "run"
    with atomic_folder(target) as temporary:
        (temporary / "a").write_text("1")
        assert not target.exists()
        (temporary / "b").write_text("2")
    assert names(target) == {"a", "b"} and names(tmp_path) == {"run"}


def test_an_error_leaves_no_folder(tmp_path):
    with pytest.raises(ValueError):
        with atomic_folder(tmp_path / "run") as temporary:
            (temporary / "a").write_text("1")
            raise ValueError
    assert names(tmp_path) == set()


def test_a_full_folder_is_never_replaced(tmp_path):
    target = tmp_path / "run"
    target.mkdir()
    (target / "old").write_text("kept")
    with pytest.raises(OSError):
        with atomic_folder(target) as temporary:
            (temporary / "a").write_text("1")
    assert names(target) == {"old"} and names(tmp_path) == {"run"}


def test_temporary_names_are_hidden_and_never_the_same(tmp_path):
    found = {temporary_beside(tmp_path / "film.mp4").name for _ in range(100)}
    assert len(found) == 100 and all(name.startswith(".film.") and name.endswith(".tmp.mp4") for name in found)


def test_json_ends_with_a_newline_and_reads_back(tmp_path):
    write_json(tmp_path / "a.json", {"a": [1, None, "é"]})
    text = (tmp_path / "a.json").read_text()
    assert text.endswith("\n") and json.loads(text) == {"a": [1, None, "é"]}


def test_json_that_cannot_be_written_changes_nothing(tmp_path):
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert json.loads((tmp_path / "a.json").read_text()) == 1 and names(tmp_path) == {"a.json"}


def test_fsync_takes_files_and_folders_and_reports_missing_ones(tmp_path):
    (tmp_path / "a").write_text("")
    fsync_path(tmp_path / "a")
    fsync_path(tmp_path)
    with pytest.raises(FileNotFoundError):
        fsync_path(tmp_path / "b")


def _write_too_much(folder: str, result) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        write_text(Path(folder) / "a.txt", "x" * 5000)
        result.send("written")
    except OSError as error:
        result.send(error.errno)


def test_a_full_disk_leaves_the_old_file(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    processes = multiprocessing.get_context("forkserver")
    mine, theirs = processes.Pipe()
    process = processes.Process(target=_write_too_much, args=(str(tmp_path), theirs))
    process.start()
    assert mine.poll(60) and isinstance(mine.recv(), int)
    process.join()
    assert (tmp_path / "a.txt").read_text() == "old" and names(tmp_path) == {"a.txt"}
