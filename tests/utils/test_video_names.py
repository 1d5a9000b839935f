"""What stands where a film is to go, and what it is called."""

import pytest

from tests.data.films import moving
from utils.errors import UserError
from utils.images import encode_png
from utils.video import VideoWriter, write_video


def test_png_spares_a_folder_of_other_things(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="mine"):
        write_video(tmp_path / "mine.png", moving(2), 24)
    assert [file.name for file in tmp_path.rglob("*")] == ["mine", "thesis.txt"]


def test_png_spares_frames_that_another_program_numbered(tmp_path):
    """ffmpeg's %06d begins with 1, KITTI's with 0."""
    write_video(tmp_path / "mine.png", moving(3), 24)
    (tmp_path / "mine" / "000001.png").write_bytes(encode_png(moving(1)[0]))  # as anybody's program writes it
    with pytest.raises(UserError, match="mine"):
        write_video(tmp_path / "mine.png", moving(2), 24)
    assert len(list((tmp_path / "mine").iterdir())) == 3
    (tmp_path / "mine" / "000001.png").unlink()
    with pytest.raises(UserError, match="mine"):
        write_video(tmp_path / "mine.png", moving(2), 24)


def test_png_replaces_its_own_frames_and_leaves_nothing_beside(tmp_path):
    for count in (3, 2):
        write_video(tmp_path / "mine.png", moving(count), 24)
        assert [file.name for file in tmp_path.iterdir()] == ["mine"] and len(list((tmp_path / "mine").iterdir())) == count


@pytest.mark.parametrize("ending", [".mp4", ".gif"])
def test_a_colon_in_a_name_is_no_protocol(tmp_path, monkeypatch, ending):
    monkeypatch.chdir(tmp_path)
    write_video(f"2024-05-01T12:30{ending}", moving(2), 24)
    assert [file.name for file in tmp_path.iterdir()] == [f"2024-05-01T12:30{ending}"]


def test_png_spares_a_folder_that_came_while_the_film_was_made(tmp_path):
    with pytest.raises(UserError, match="holds other things"), VideoWriter(tmp_path / "late.png", 24) as writer:
        for frame in moving(2):
            writer.write(frame)
        (tmp_path / "late").mkdir()
        (tmp_path / "late" / "thesis.txt").write_text("years of work")
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["late", "thesis.txt"]
