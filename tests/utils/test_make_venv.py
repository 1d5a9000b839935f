"""An environment is made anew where make made it, and nowhere else. (That it comes to work, every run of the tests shows.)"""

import subprocess
import sys

import pytest

from tests.conftest import ROOT
from utils.make_venv import MARKS, _empty


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "env" / "bin").mkdir(parents=True)
    (tmp_path / "env" / "pyvenv.cfg").write_text("home = /usr/bin")
    done = subprocess.run([sys.executable, ROOT / "utils" / "make_venv.py", tmp_path / "env"], capture_output=True, text=True)
    assert done.returncode == 1 and f"error: {tmp_path}/env holds what make did not put there" in done.stderr
    assert sorted(path.name for path in (tmp_path / "env").iterdir()) == ["bin", "pyvenv.cfg"]


@pytest.mark.parametrize("mark", MARKS)
def test_what_make_left_unfinished_is_emptied(tmp_path, mark):
    (tmp_path / "env" / "lib" / "deep").mkdir(parents=True)
    (tmp_path / "kept").touch()
    (tmp_path / "env" / "link").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "env" / mark).touch()
    _empty(tmp_path / "env")
    assert [path.name for path in (tmp_path / "env").iterdir()] == [MARKS[0]] and (tmp_path / "kept").exists()


def test_a_new_place_is_made_and_marked(tmp_path):
    _empty(tmp_path / "some" / "env")
    assert (tmp_path / "some" / "env" / MARKS[0]).is_file()
