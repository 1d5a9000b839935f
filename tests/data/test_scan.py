import errno
import json
import os
import random
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest

import data.cache
from data.cache import cache_folder, content_keys
from data.cuts import thumbnail
from data.dataset import VideoDataset
from data.decode import read_frames
from data.health import UNUSABLE
from data.by_pyav import needs_pyav
from data.layouts import find_sources
from data.pool import WorkerPool
from data.scan import main, scan
from tests.conftest import ROOT
from tests.data.films import moving, numbered, rotate_tag, write_film
from training.interpolate_film import Film
from utils.errors import UserError
from utils.images import save_png
from utils.video import write_video


def report_of(videos, **options):
    with WorkerPool(2, context="fork") as pool:
        report = scan(find_sources(videos), pool, quiet=True, **options)
    return {video.path: video for video in report.videos}


@pytest.fixture(scope="module")
def sick(tmp_path_factory):
    """A folder with one file of each trouble."""
    root = tmp_path_factory.mktemp("sick")
    film = moving(50)
    write_film(root / "fine.mp4", film)
    fast = write_film(root / "faststart.mp4", film, options={"crf": "20", "g": "10"}, faststart=True)
    data = (root / "fine.mp4").read_bytes()
    (root / "no_index.mp4").write_bytes(data[:len(data) * 6 // 10])
    data = fast.read_bytes()
    pictures = data.find(b"mdat")
    (root / "cut_short.mp4").write_bytes(data[:pictures + (len(data) - pictures) * 6 // 10])
    (root / "empty.mp4").write_bytes(b"")
    (root / "letter.mp4").write_text("Dear diary, this is not a film.\n" * 40)
    (root / "playlist.mp4").write_text(f"#EXTM3U\n#EXTINF:2,\nfile://{root}/fine.mp4\n")
    (root / "copy.mp4").write_bytes((root / "fine.mp4").read_bytes())
    write_film(root / "single.mp4", film[:1])
    write_film(root / "uneven.mkv", film, seconds=np.cumsum([0.04, 0.04, 0.12] * 17)[:50])
    rotate_tag(write_film(root / "turned.mp4", film))
    write_film(root / "grey.mkv", film, codec="ffv1", options={})
    lying = bytearray(write_film(root / "lying.avi", film, codec="mpeg4", options={}).read_bytes())
    for tag, offset in ((b"avih", 16), (b"strh", 32)):  # dwTotalFrames, dwLength
        place = lying.find(tag) + 8 + offset
        lying[place:place + 4] = (400).to_bytes(4, "little")
    (root / "lying.avi").write_bytes(lying)
    return root


def test_each_trouble_is_named(sick):
    report = report_of(sick)
    status = {name: video.status for name, video in report.items()}
    assert {name: state for name, state in status.items() if state != "ok"} == {
        "no_index.mp4": "broken", "cut_short.mp4": "damaged", "empty.mp4": "empty", "letter.mp4": "not a video",
        "playlist.mp4": "not a video"}
    assert "moov atom not found" in report["no_index.mp4"].faults[0]
    assert any("truncated" in fault for fault in report["cut_short.mp4"].faults) and 10 <= report["cut_short.mp4"].frames < 50
    assert "0 bytes" in report["empty.mp4"].faults[0]
    assert report["copy.mp4"].notes == [] and report["fine.mp4"].notes == ["duplicate of copy.mp4"]
    assert report["single.mp4"].frames == 1
    assert "variable frame rate" in report["uneven.mkv"].notes and report["uneven.mkv"].fps == pytest.approx(15, rel=0.02)
    assert "rotated by 270 degrees" in report["turned.mp4"].notes and (report["turned.mp4"].width, report["turned.mp4"].height) == (48, 64)
    assert report["fine.mp4"].frames == 50 and report["fine.mp4"].fps == 25 and not report["fine.mp4"].variable_rate
    assert report["lying.avi"].frames == 50 and report["lying.avi"].notes == ["the header says 400 frames, 50 decode"]


def test_a_link_to_nothing_is_one_video_of_many(sick, tmp_path):
    (tmp_path / "fine.mp4").symlink_to(sick / "fine.mp4")
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    for quick in (False, True):
        report = report_of(tmp_path, quick=quick)
        assert report["fine.mp4"].status == "ok" and report["gone.mp4"].status == "broken"
        assert report["gone.mp4"].faults == ["cannot be read: No such file or directory"]
    (tmp_path / "frames").mkdir()
    for number in range(3):
        (tmp_path / "frames" / f"{number}.png").symlink_to(tmp_path / "nowhere.png")
    assert report_of(tmp_path, quick=True)["frames"].frames == 0


def test_rotation_is_applied(sick):
    upright, turned = (np.stack(list(read_frames(sick / name))) for name in ("fine.mp4", "turned.mp4"))
    assert turned.shape == (50, 64, 48, 3)
    assert np.array_equal(turned, np.rot90(upright, -1, axes=(1, 2)))  # the tag says: a quarter turn clockwise


def test_table_json_and_status(sick, capsys):
    assert main([str(sick), "--frames", "16"]) == 0
    table = capsys.readouterr().out
    assert "single.mp4" in table and "too short: 1 frame, a clip spans 16" in table and table.splitlines()[-1].startswith("13 videos:")
    assert main([str(sick), "--json", "--frames", "16"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert len(report["videos"]) == 13 and report["counts"]["empty"] == 1 and report["counts"]["too short"] == 1


def test_quick_scan_sees_what_needs_no_decoding(sick):
    report = report_of(sick, quick=True)
    assert report["fine.mp4"].frames == 50 and report["no_index.mp4"].status == "broken" and report["letter.mp4"].status == "not a video"


def test_results_are_remembered_by_content(sick, tmp_path):
    (tmp_path / "health").mkdir()
    first = report_of(sick, folder=tmp_path)
    for file in (tmp_path / "health").iterdir():
        file.write_text(file.read_text().replace('"h264"', '"remembered"'))
    assert report_of(sick, folder=tmp_path)["fine.mp4"].codec == "remembered"
    file.write_text('{"half a')  # an unreadable memory is no memory
    assert {name: video.status for name, video in report_of(sick, folder=tmp_path).items()} == {
        name: video.status for name, video in first.items()}


@pytest.mark.parametrize("arguments, words", [(["/does/not/exist"], "no such file"), ([".", "--nonsense"], "unrecognized"),
                                              ([".", "--frames", "0"], "at least 1"), ([], "required"),
                                              (["synthetic:frames=9"], "nothing to scan")])
def test_bad_calls_are_one_line_and_status_2(arguments, words):
    done = subprocess.run([sys.executable, "-m", "data.scan", *arguments], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1 and words in done.stderr


def flipped(data: bytes, flips: int, seed: int) -> bytes:
    draw, out = random.Random(seed), bytearray(data)
    for _ in range(flips):
        bit = draw.randrange(len(data) * 8)
        out[bit // 8] ^= 1 << bit % 8
    return bytes(out)


def test_truncations_and_bit_flips_leave_clean_frames_only(clips, tmp_path):
    """bikes.mp4 cut at each tenth and with 200 flipped bits, 10 in each of 20 copies: no crash, and what is used is undamaged."""
    data = (clips / "bikes.mp4").read_bytes()
    for tenth in range(1, 10):
        (tmp_path / f"cut{tenth}.mp4").write_bytes(data[:len(data) * tenth // 10])
    for copy in range(20):
        (tmp_path / f"flip{copy}.mp4").write_bytes(flipped(data, 10, copy))
    (tmp_path / "whole.mp4").write_bytes(data)
    dataset = VideoDataset(tmp_path, 34, 80, 1, workers=2, max_broken=1.0, quiet=True)
    videos = {video.path: video for video in dataset.report.videos}
    assert all("moov atom not found" in videos[f"cut{tenth}.mp4"].faults[0] for tenth in range(1, 10))
    damaged = [video for video in videos.values() if video.path.startswith("flip") and video.status == "damaged"]
    assert len(damaged) >= 15 and all("unusable" in video.faults[0] for video in damaged)
    assert videos["whole.mp4"].status == "ok" and videos["whole.mp4"].frames == 250
    frames = dataset.gather(np.arange(len(dataset)))["video"][:, 0].numpy()
    first = dict(zip(dataset.names, dataset._video_first))
    clean = frames[first["whole.mp4"]:][:250].astype(np.int16)
    marks = np.stack([thumbnail(frame.astype(np.uint8)) for frame in clean]).reshape(250, -1).astype(np.float32)
    strange = total = 0
    for video in damaged:
        used = frames[first[video.path]:][:video.frames]
        nearest = [np.abs(marks - thumbnail(frame).reshape(1, -1)).sum(1).argmin() for frame in used]
        strange += sum(np.abs(clean[place] - frame).max() > 24 for place, frame in zip(nearest, used))
        total += len(used)
    assert total > 500 and strange <= 0.02 * total  # a decoder cannot notice every flip


def test_a_film_cut_before_it_says_its_coding_is_broken_and_no_crash(tmp_path):
    write_video(tmp_path / "whole.mp4", moving(8), 24)
    data = (tmp_path / "whole.mp4").read_bytes()
    start = data.index(b"stsd")
    for place in range(start - 100, start + 300, 25):
        (tmp_path / f"{place}.mp4").write_bytes(data[:place])
    videos = report_of(tmp_path)
    assert videos.pop("whole.mp4").status == "ok" and {video.status for video in videos.values()} <= {"broken", "not a video"}
    assert any("no known coding" in video.faults[0] for video in videos.values())
    assert not any(needs_pyav(tmp_path / path) for path in videos)


def test_real_clips_are_usable(clips):
    report = report_of(clips)
    assert {name: video.frames for name, video in report.items() if name in ("vtest.avi", "bikes.mp4", "tree.avi", "video_90.mov")} == {
        "vtest.avi": 795, "bikes.mp4": 250, "tree.avi": 68, "video_90.mov": 3}
    assert "the header says 444 frames, 68 decode" in report["tree.avi"].notes and "variable frame rate" in report["tree.avi"].notes
    assert (report["video_90.mov"].width, report["video_90.mov"].height) == (320, 568)
    assert all(video.status == "ok" for video in report.values())


def test_too_many_broken_stop_with_one_line(tmp_path):
    write_film(tmp_path / "good.mp4", numbered(20))
    for index in range(2):
        (tmp_path / f"bad{index}.mp4").write_bytes(b"")
    with pytest.raises(UserError, match="2 of 3 videos cannot be used.*bad0.mp4: empty file") as caught:
        VideoDataset(tmp_path, 32, 32, 4, quiet=True)
    assert "\n" not in str(caught.value)
    assert len(VideoDataset(tmp_path, 32, 32, 4, max_broken=0.7, quiet=True)) == 17


def test_an_avi_cut_short_is_told_by_its_length(tmp_path):
    data = write_film(tmp_path / "whole.avi", moving(50), codec="mpeg4", options={}).read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[:len(data) * 9 // 10])
    report = report_of(tmp_path, quick=True)
    assert report["whole.avi"].status == "ok" and report["cut.avi"].status == "damaged"
    assert any("bytes are there" in fault for fault in report["cut.avi"].faults)


@pytest.mark.parametrize("ending, rates", [("gif", (10, 15, 24, 25, 30, 50)), ("mkv", (24, 25, 30, 50, 60, 120)), ("mp4", (15, 24, 60))])
def test_rounded_time_stamps_do_not_change_the_rate(tmp_path, ending, rates):
    """GIF counts hundredths of a second, Matroska thousandths."""
    for rate in rates:
        path = tmp_path / f"{rate}.{ending}"
        if ending == "gif":
            write_video(path, moving(120), rate)
        else:
            write_film(path, moving(120), rate=rate)
        assert report_of(path)[path.name].fps == pytest.approx(rate, rel=0.005)


@pytest.mark.parametrize("stamps", [[0, 3600, 7380], [0, *np.cumsum([3600, 3720] * 20)],
                                    [0, 3600, 7195, 10810, 14402, 17990, 21615, 25180]])
def test_stamps_that_tremble_are_no_fault(tmp_path, stamps):
    """The median gap may lie between all others."""
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "0"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 90000)
        for stamp, pixels in zip(stamps, moving(len(stamps))):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = int(stamp), Fraction(1, 90000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    for quick in (True, False):
        found = report_of(path, quick=quick)["a.mp4"]
        assert found.status == "ok" and found.frames == len(stamps) and found.fps == pytest.approx(25, rel=0.03)


def test_a_film_cut_without_recoding_is_whole(tmp_path):
    """What an edit list hides is in the file, and is no frame."""
    whole, cut = write_film(tmp_path / "whole.mp4", moving(60), options={"g": "60", "bf": "0"}), tmp_path / "cut.mp4"
    with av.open(str(whole)) as source, av.open(str(cut), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.size:
                packet.pts, packet.dts = (stamp - round(0.8 / packet.time_base) for stamp in (packet.pts, packet.dts))
                packet.stream = copy
                target.mux(packet)
    for quick in (True, False):
        found = report_of(cut, quick=quick)["cut.mp4"]
        assert (found.status, found.frames, found.notes) == ("ok", 40, [])
    film = Film(cut)
    assert len(list(film.frames())) == film.length == 40


def test_trouble_of_the_machine_is_not_remembered(tmp_path, monkeypatch):
    write_film(tmp_path / "v" / "a.mp4", moving(20))
    look = lambda: report_of(tmp_path / "v", folder=cache_folder(tmp_path / "c"))["a.mp4"].status
    with monkeypatch.context() as patch:
        patch.setattr("data.probe.open_container", lambda path: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error")))
        assert look() == "broken"
    assert look() == "ok"


def test_what_is_no_file_ends_nothing(tmp_path):
    write_film(tmp_path / "a.mp4", moving(20))
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    report = report_of(tmp_path)
    assert {name: video.status in UNUSABLE for name, video in report.items()} == {"a.mp4": False, "loop.mp4": True, "pipe.mp4": True}
    assert not report["pipe.mp4"].notes, "what cannot be read is nobody's duplicate"


def test_files_that_have_not_changed_are_not_read_again(tmp_path, monkeypatch):
    path, read = write_film(tmp_path / "a.mp4", moving(20)), []
    content = data.cache._content_key
    monkeypatch.setattr("data.cache._content_key", lambda source: read.append(source.name) or content(source))
    monkeypatch.setattr("data.cache._SETTLED_NS", 0), monkeypatch.setattr("data.cache._WORTH_BYTES", 0)
    sources = find_sources(tmp_path).sources
    keys = [content_keys(sources, cache_folder(tmp_path / "c")) for _ in range(3)]
    assert keys[0] == keys[1] == keys[2] == content_keys(sources) and read == ["a.mp4"] * 2  # the last one remembers nothing
    stamp = path.stat()
    changed = bytearray(path.read_bytes())
    changed[-1] ^= 1
    path.write_bytes(changed)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # as copying tools do
    assert content_keys(sources, cache_folder(tmp_path / "c")) != keys[0]


def test_a_key_of_pictures_that_could_not_all_be_read_is_not_remembered(tmp_path, monkeypatch):
    for number, frame in enumerate(moving(3)):
        save_png(tmp_path / "film" / f"{number}.png", frame)
    monkeypatch.setattr("data.cache._SETTLED_NS", 0), monkeypatch.setattr("data.cache._WORTH_BYTES", 0)
    sources, folder, add = find_sources(tmp_path).sources, cache_folder(tmp_path / "c"), data.cache._add
    with monkeypatch.context() as patch:
        fail = lambda: (_ for _ in ()).throw(OSError(5, "EIO"))
        patch.setattr("data.cache._add", lambda digest, file: fail() if file.stem == "1" else add(digest, file))
        broken = content_keys(sources, folder)
    assert content_keys(sources, folder) == content_keys(sources) != broken
