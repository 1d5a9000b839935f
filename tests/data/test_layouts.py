import os

import cv2
import numpy as np
import pytest

from data.decode import read_frames
from data.layouts import find_sources, natural_key
from utils.errors import UserError


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def names(layout):
    return [source.name for source in layout.sources]


def test_folder_is_searched_recursively_in_natural_order(tmp_path):
    for name in ("b10.mp4", "b9.MP4", "deep/er/a.avi", "notes.txt", ".hidden.mp4", "__MACOSX/c.mp4", ".trash/d.mp4"):
        touch(tmp_path / name)
    layout = find_sources(tmp_path)
    assert names(layout) == ["b9.MP4", "b10.mp4", "deep/er/a.avi"]
    assert layout.classes == [] and {source.label for source in layout.sources} == {0}


def test_class_subfolders_are_labels(tmp_path):
    for name in ("run/2.mp4", "run/x/1.mp4", "jump/1.mp4", "walk/1.mp4"):
        touch(tmp_path / name)
    layout = find_sources(tmp_path)
    assert layout.classes == ["jump", "run", "walk"]
    assert [(source.name, source.label) for source in layout.sources] == [
        ("jump/1.mp4", 0), ("run/2.mp4", 1), ("run/x/1.mp4", 1), ("walk/1.mp4", 2)]


def test_folders_of_one_video_each_may_be_no_classes(tmp_path):
    for number in range(20):
        touch(tmp_path / str(number) / "1.mp4")
    assert find_sources(tmp_path).notes == []
    touch(tmp_path / "more" / "1.mp4")
    assert "each of the 21 class folders has one video" in find_sources(tmp_path).notes[0]
    touch(tmp_path / "more" / "2.mp4")
    assert find_sources(tmp_path).notes == []


def test_a_video_beside_the_folders_takes_the_classes_and_says_so(tmp_path):
    for name in ("run/1.mp4", "walk/1.mp4"):
        touch(tmp_path / name)
    assert find_sources(tmp_path).notes == []
    touch(tmp_path / "more.mp4")
    layout = find_sources(tmp_path)
    assert layout.classes == [] and layout.notes == ["no video has a class, as 1 of 3 have no class folder above them (the first: more.mp4)"]
    assert find_sources(tmp_path / "run").notes == []


def test_one_video(tmp_path):
    assert names(find_sources(touch(tmp_path / "a.mp4"))) == ["a.mp4"]


def test_links_that_lead_back_end(tmp_path):
    touch(tmp_path / "sub" / "a.mp4")
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    assert names(find_sources(tmp_path)) == ["sub/a.mp4"]


def make_ucf(root, lists):
    for name in ("Zumba/v_Zumba_g01_c01.avi", "Archery/v_Archery_g01_c01.avi", "Archery/v_Archery_g02_c01.avi"):
        touch(root / "UCF-101" / name)
    lists.mkdir(parents=True, exist_ok=True)
    (lists / "classInd.txt").write_text("1 Archery\n2 Zumba\n")
    (lists / "trainlist01.txt").write_text("Archery/v_Archery_g01_c01.avi 1\r\nZumba/v_Zumba_g01_c01.avi 2\r\n"
                                           "Zumba/v_Zumba_g09_c09.avi 2\r\n")
    (lists / "testlist01.txt").write_text("Archery/v_Archery_g02_c01.avi\n")


@pytest.mark.parametrize("where", ["", "ucfTrainTestlist"])
def test_ucf101_split_lists(tmp_path, where):
    make_ucf(tmp_path, tmp_path / where)
    train, test = find_sources(tmp_path), find_sources(tmp_path, "test")
    assert [(source.path.name, source.label) for source in train.sources] == [("v_Archery_g01_c01.avi", 0), ("v_Zumba_g01_c01.avi", 1)]
    assert [source.path.name for source in test.sources] == ["v_Archery_g02_c01.avi"]
    assert train.classes == test.classes == ["Archery", "Zumba"]
    assert "1 of 3 videos" in train.notes[0]
    every = find_sources(tmp_path, "all")
    assert [(source.path.name, source.label) for source in every.sources] == [
        ("v_Archery_g01_c01.avi", 0), ("v_Zumba_g01_c01.avi", 1), ("v_Archery_g02_c01.avi", 0)]
    assert every.classes == ["Archery", "Zumba"] and "1 of 4 videos of the lists number 1" in every.notes[0]
    (tmp_path / where / "testlist01.txt").rename(tmp_path / "aside.txt")
    assert len(find_sources(tmp_path, "all").sources) == 2
    (tmp_path / "aside.txt").rename(tmp_path / where / "testlist01.txt")
    (tmp_path / where / "trainlist02.txt").write_text("Archery/v_Archery_g02_c01.avi 1\n")
    assert [source.path.name for source in find_sources(tmp_path, "train", 2).sources] == ["v_Archery_g02_c01.avi"]
    with pytest.raises(UserError, match="testlist03.txt does not exist"):
        find_sources(tmp_path, "test", 3)


def test_folders_of_images_are_videos(tmp_path):
    for clip in ("cats/c1", "cats/c2", "dogs/d1"):
        (tmp_path / clip).mkdir(parents=True)
        for index in (0, 1, 2, 10):
            cv2.imwrite(str(tmp_path / clip / f"frame{index}.png"), np.full((6, 8, 3), 20 * index, np.uint8))
    layout = find_sources(tmp_path)
    assert [(source.name, source.kind, source.label) for source in layout.sources] == [
        ("cats/c1", "frames", 0), ("cats/c2", "frames", 0), ("dogs/d1", "frames", 1)]
    frames = list(read_frames(tmp_path / "cats/c1"))
    assert [int(frame[0, 0, 0]) for frame in frames] == [0, 20, 40, 200]  # natural order: 10 comes after 2
    one = find_sources(tmp_path / "cats/c1")
    assert [source.kind for source in one.sources] == ["frames"] and one.classes == []


def test_pictures_above_the_classes_take_them_and_say_so(tmp_path):
    for name in ("a/1.mp4", "b/2.mp4", "first.png", "second.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    layout = find_sources(tmp_path)
    assert layout.classes == []
    assert layout.notes == ["no video has a class, as 1 of 3 have no class folder above them (the first: pictures)"]


def test_pictures_beside_videos_are_no_videos(tmp_path):
    touch(tmp_path / "a.mp4")
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"thumb{index}.png"), np.zeros((4, 4, 3), np.uint8))
    assert names(find_sources(tmp_path)) == ["a.mp4"]


def test_stacked_jpegs(tmp_path):
    tile = np.concatenate([np.full((16, 16, 3), 40 * index, np.uint8) for index in range(6)])
    (tmp_path / "golf").mkdir()
    cv2.imwrite(str(tmp_path / "golf" / "a.jpg"), tile, [cv2.IMWRITE_JPEG_QUALITY, 100])
    cv2.imwrite(str(tmp_path / "golf" / "b.jpg"), tile[:64], [cv2.IMWRITE_JPEG_QUALITY, 100])
    layout = find_sources(tmp_path)
    assert [source.kind for source in layout.sources] == ["stack", "stack"] and layout.classes == ["golf"]
    frames = list(read_frames(tmp_path / "golf" / "a.jpg"))
    assert [frame.shape for frame in frames] == [(16, 16, 3)] * 6
    assert [round(float(frame.mean()) / 40) for frame in frames] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("make, words", [
    (lambda root: root / "absent", "no such file or folder"),
    (lambda root: root, "no videos found"),
    (lambda root: touch(root / "photo.png"), "a single picture is no video"),
])
def test_nothing_to_use_is_one_line(tmp_path, make, words):
    path = make(tmp_path)
    with pytest.raises(UserError, match=words) as caught:
        find_sources(path)
    assert str(path) in str(caught.value) and "synthetic" in str(caught.value) and "\n" not in str(caught.value)


def test_test_split_needs_lists(tmp_path):
    touch(tmp_path / "a.mp4")
    with pytest.raises(UserError, match="no official lists"):
        find_sources(tmp_path, "test")


def test_natural_key_orders_numbers_and_is_total():
    assert sorted(["a10", "a2", "A1", "a", "10", "9", "a02"], key=natural_key) == ["9", "10", "a", "A1", "a02", "a2", "a10"]


def test_ucf101_may_lie_behind_a_link(tmp_path):
    make_ucf(tmp_path / "elsewhere", tmp_path / "lists")
    (tmp_path / "lists" / "UCF-101").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert [source.path.name for source in find_sources(tmp_path / "lists", "test").sources] == ["v_Archery_g02_c01.avi"]


@pytest.mark.parametrize("line", ["Archery", "one Archery", "1"])
def test_an_index_of_classes_that_cannot_be_read_is_one_line(tmp_path, line):
    make_ucf(tmp_path, tmp_path)
    (tmp_path / "classInd.txt").write_text(f"{line}\n2 Zumba\n")
    with pytest.raises(UserError, match=f"classInd.txt: '{line}' is not a number and the name of a class"):
        find_sources(tmp_path)


def test_classes_are_numbered_as_the_index_numbers_them(tmp_path):
    """Neither by name nor by the number as text."""
    names = ["Zumba", *(f"Class{number:02d}" for number in range(2, 12))]
    for name in names:
        touch(tmp_path / name / f"v_{name}_g01_c01.avi")
    index = sorted(enumerate(names, 1), key=lambda row: str(row[0]))  # 1 10 11 2 ...
    (tmp_path / "classInd.txt").write_text("".join(f"{number} {name}\n" for number, name in index))
    (tmp_path / "trainlist01.txt").write_text("".join(f"{name}/v_{name}_g01_c01.avi {number}\n" for number, name in index))
    layout = find_sources(tmp_path)
    assert layout.classes == names and all(names[source.label] == source.name.split("/")[0] for source in layout.sources)


def test_lists_that_have_passed_through_windows(tmp_path):
    make_ucf(tmp_path, tmp_path)
    (tmp_path / "classInd.txt").write_bytes(b"\xef\xbb\xbf1 Archery\r\n2 Zumba\r\n")
    (tmp_path / "trainlist01.txt").write_bytes(b"\xef\xbb\xbfArchery\\v_Archery_g01_c01.avi 1\r\nZumba\\v_Zumba_g01_c01.avi 2\r\n")
    layout = find_sources(tmp_path)
    assert layout.classes == ["Archery", "Zumba"] and [source.label for source in layout.sources] == [0, 1]
    (tmp_path / "trainlist01.txt").write_bytes("Archery/v_Archery_g01_c01.avi 1\n".encode("utf-16"))
    with pytest.raises(UserError, match="trainlist01.txt: cannot be read: it is not UTF-8 text"):
        find_sources(tmp_path)


def test_folders_that_cannot_be_read_are_told(tmp_path, monkeypatch):
    for name in ("run/1.mp4", "walk/1.mp4"):
        touch(tmp_path / name)
    scan = os.scandir

    def refuse(folder):
        if str(folder).endswith("walk"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scan(folder)
    monkeypatch.setattr(os, "scandir", refuse)
    layout = find_sources(tmp_path)
    assert names(layout) == ["run/1.mp4"] and layout.notes == [f"1 folder cannot be read (the first: {tmp_path}/walk: Permission denied)"]
    with pytest.raises(UserError, match=f"--data {tmp_path}/walk: cannot be read: Permission denied"):
        find_sources(tmp_path / "walk")


def test_a_name_that_begins_with_a_tilde(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touch(tmp_path / "~nobody-of-that-name" / "a.mp4")
    assert names(find_sources("~nobody-of-that-name")) == ["a.mp4"]
