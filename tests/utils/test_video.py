"""What VideoWriter writes is what players, browsers and FFmpeg's own tools expect."""

import json
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.errors import UserError
from utils.video import VideoWriter, exact_rate, write_video

ROOT = Path(__file__).resolve().parents[2]
ffmpeg = pytest.mark.skipif(not (shutil.which("ffmpeg") and shutil.which("ffprobe")), reason="ffmpeg is not installed")
SHAPES = [(160, 320), (161, 321), (64, 63), (2, 2), (1, 1), (17, 400)]
RATES = [(24, "24/1"), (29.97, "30000/1001"), (23.976, "24000/1001"), (10.0, "10/1"), (12.5, "25/2"),
         (Fraction(60000, 1001), "60000/1001")]
COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 255, 255), (0, 0, 0), (128, 128, 128),
           (30, 200, 90)]


def moving(number: int, height: int = 48, width: int = 64, seed: int = 0):
    """Smooth colour ramps that drift; another seed, other colours."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    phase = np.random.default_rng(seed).uniform(0, 6, 3)
    for index in range(number):
        waves = [np.sin(x / 9 + y / 13 * (c + 1) + index / 5 + phase[c]) for c in range(3)]
        yield np.stack([127.5 + 127 * wave for wave in waves], axis=-1).astype(np.uint8)


def twice_each_colour():
    return (np.full((32, 32, 3), colour, np.uint8) for colour in COLOURS for _ in range(2))


def probe(path: Path) -> dict:
    command = ["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-of", "json", str(path)]
    streams = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["streams"]
    assert len(streams) == 1
    return streams[0]


def ffmpeg_frames(path: Path, height: int, width: int) -> np.ndarray:
    """Decoded by the ffmpeg program, turned to RGB by the matrix that the file names."""
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-fps_mode", "passthrough",
               "-vf", "scale=flags=accurate_rnd+full_chroma_int", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    data = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(data, np.uint8).reshape(-1, height, width, 3)


def yuv_planes(path: Path) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    with av.open(str(path)) as container:
        pictures = [frame.to_ndarray() for frame in container.decode(video=0)]
    planes = []
    for picture in pictures:
        height, width = picture.shape[0] * 2 // 3, picture.shape[1]
        flat = picture.reshape(-1)
        area = height * width
        planes.append((flat[:area].reshape(height, width), flat[area:area * 5 // 4], flat[area * 5 // 4:]))
    return planes


def atoms(path: Path) -> list[str]:
    """Names of an MP4's top-level boxes, in order (ISO/IEC 14496-12)."""
    data, at, names = path.read_bytes(), 0, []
    while at < len(data):
        size = int.from_bytes(data[at:at + 4], "big")
        names.append(data[at + 4:at + 8].decode())
        assert size >= 8, "64-bit and open-ended boxes do not occur in small files"
        at += size
    return names


def bt709(red: float, green: float, blue: float) -> np.ndarray:
    """8-bit Y, Cb, Cr in tv range of 8-bit RGB (ITU-R BT.709-6, sections 3.2 to 3.4)."""
    r, g, b = red / 255, green / 255, blue / 255
    y = 0.2126 * r + 0.7152 * g + 0.0722 * b
    return np.array([16 + 219 * y, 128 + 224 * (b - y) / 1.8556, 128 + 224 * (r - y) / 1.5748])


@ffmpeg
@pytest.mark.parametrize("ending", [".mp4", ".avi"])
@pytest.mark.parametrize("shape, rate, count", zip(SHAPES, RATES, [5, 1, 30, 2, 1, 3]))
def test_ffprobe_sees_the_exact_film(tmp_path, ending, shape, rate, count):
    path, (height, width), (fps, written_rate) = tmp_path / f"film{ending}", shape, rate
    assert write_video(path, moving(count, height, width), fps) == count
    seen = probe(path)
    assert (seen["codec_name"], seen["pix_fmt"]) == ("h264", "yuv420p")
    assert (seen["height"], seen["width"]) == (height + height % 2, width + width % 2)
    assert seen["r_frame_rate"] == seen["avg_frame_rate"] == written_rate
    assert int(seen["nb_read_frames"]) == int(seen["nb_frames"]) == count
    assert {seen[name] for name in ("color_space", "color_transfer", "color_primaries")} == {"bt709"}
    assert seen["color_range"] == "tv"
    assert float(seen["start_time"]) == 0
    assert float(seen["duration"]) == pytest.approx(count / exact_rate(fps), abs=1e-3)


def test_the_file_names_its_colours_and_rate(tmp_path):
    write_video(tmp_path / "film.mp4", moving(7), 29.97)
    with av.open(str(tmp_path / "film.mp4")) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.color_primaries, context.color_trc, context.colorspace, context.color_range) == (1, 1, 1, 1)
        assert (stream.average_rate, stream.frames, context.pix_fmt) == (Fraction(30000, 1001), 7, "yuv420p")


@pytest.mark.parametrize("count", [1, 40])
def test_the_index_stands_before_the_pictures(tmp_path, count):
    write_video(tmp_path / "film.mp4", moving(count), 24)
    names = atoms(tmp_path / "film.mp4")
    assert names.index("moov") < names.index("mdat")


@pytest.mark.parametrize("ending", [".mp4", ".avi"])
def test_colours_are_converted_by_bt709_in_tv_range(tmp_path, ending):
    write_video(tmp_path / f"film{ending}", twice_each_colour(), 10)
    for index, planes in enumerate(yuv_planes(tmp_path / f"film{ending}")):
        means = np.array([plane.mean() for plane in planes])
        np.testing.assert_allclose(means, bt709(*COLOURS[index // 2]), atol=1.0)


@ffmpeg
@pytest.mark.parametrize("ending, bar", [(".mp4", 2), (".avi", 2), (".gif", 1)])
def test_ffmpeg_decodes_the_colours_written(tmp_path, ending, bar):
    write_video(tmp_path / f"film{ending}", twice_each_colour(), 10)
    seen = ffmpeg_frames(tmp_path / f"film{ending}", 32, 32)
    np.testing.assert_allclose(seen.mean(axis=(1, 2)), np.repeat(COLOURS, 2, axis=0), atol=bar)


def test_pictures_survive_and_padding_repeats_the_edge(tmp_path):
    frames = list(moving(12, 33, 47))
    write_video(tmp_path / "film.mp4", frames, 24, crf=1)
    for frame, (luma, _, _) in zip(frames, yuv_planes(tmp_path / "film.mp4"), strict=True):
        wanted = bt709(*np.moveaxis(frame.astype(float), -1, 0))[0]
        assert np.abs(luma[:33, :47] - wanted).mean() < 1.0
        assert np.abs(luma[33].astype(int) - luma[32]).max() <= 6
        assert np.abs(luma[:, 47].astype(int) - luma[:, 46]).max() <= 6


def test_a_lower_crf_is_a_better_picture(tmp_path):
    frames, errors = list(moving(6)), []
    for crf in (0, 18, 45):
        write_video(tmp_path / "film.mp4", frames, 24, crf=crf)
        wanted = [bt709(*np.moveaxis(frame.astype(float), -1, 0))[0] for frame in frames]
        planes = yuv_planes(tmp_path / "film.mp4")
        errors.append(np.mean([np.abs(luma - want).mean() for (luma, _, _), want in zip(planes, wanted)]))
    assert errors[0] < errors[1] < errors[2] / 2
    assert errors[0] < 0.6, "lossless, but for rounding to whole levels"


@pytest.mark.parametrize("ending", [".mp4", ".avi", ".gif"])
def test_same_frames_same_bytes(tmp_path, ending):
    films = []
    for speed in (9, 9, 9, 9, 9, 9, 9, 8):
        # Hard edges that move: a picture of which x264's defaults make another film almost every time.
        y, x = np.mgrid[:160, :320]
        frames = (np.stack([x * 255 // 320, y * 255 // 160, (x + y + i * speed) % 256], axis=-1).astype(np.uint8)
                  for i in range(60 if ending != ".gif" else 3))
        write_video(tmp_path / f"film{ending}", frames, 24)
        films.append((tmp_path / f"film{ending}").read_bytes())
    assert len(set(films[:-1])) == 1
    assert films[-1] != films[0]


@ffmpeg
def test_gif_keeps_count_size_and_mean_rate(tmp_path):
    frames = list(moving(48, 33, 47))
    write_video(tmp_path / "film.gif", frames, 24)
    seen = probe(tmp_path / "film.gif")
    assert (seen["codec_name"], seen["height"], seen["width"], int(seen["nb_read_frames"])) == ("gif", 33, 47, 48)
    assert float(seen["duration"]) == pytest.approx(2.0, abs=0.02)
    assert np.abs(ffmpeg_frames(tmp_path / "film.gif", 33, 47).astype(int) - frames).mean() < 10


def test_a_gif_has_its_limit_too(tmp_path):
    with pytest.raises(UserError, match="a GIF holds at most 65535 pixels a side"), VideoWriter(tmp_path / "wide.gif", 24) as writer:
        writer.write(np.zeros((2, 65536, 3), np.uint8))
    assert not list(tmp_path.iterdir())


def test_png_is_lossless_a_file_or_a_folder(tmp_path):
    frames = list(moving(3, 5, 7))
    with VideoWriter(tmp_path / "one.png", 24) as writer:
        writer.write(frames[0])
    assert writer.path == tmp_path / "one.png"
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "one.png"))[..., ::-1], frames[0])
    for count in (3, 2):  # a shorter film replaces the longer one, frame 2 included
        with VideoWriter(tmp_path / "many.png", 24) as writer:
            for frame in frames[:count]:
                writer.write(frame)
        assert writer.path == tmp_path / "many"
        assert sorted(file.name for file in writer.path.iterdir()) == [f"{index:06d}.png" for index in range(count)]
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "many/000001.png"))[..., ::-1], frames[1])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["many", "one.png"]
    (tmp_path / "link").symlink_to(tmp_path / "many")
    with pytest.raises(UserError, match="is a link"), VideoWriter(tmp_path / "link.png", 24) as writer:
        for frame in frames:
            writer.write(frame)
    assert len(list((tmp_path / "many").iterdir())) == 2


@pytest.mark.parametrize("name, settings, named", [
    ("film.webm", {}, ".mp4, .avi, .gif, .png"), ("film", {}, ".mp4, .avi, .gif, .png"), ("folder.mp4", {}, "folder"),
    ("file/film.mp4", {}, "is a file"), ("file/deep/film.png", {}, "is a file"),
    ("film.mp4", {"crf": 52}, "51"), ("film.mp4", {"crf": -1}, "crf"), ("film.mp4", {"crf": 1.5}, "crf"),
    ("film.mp4", {"fps": 0}, "fps"), ("film.mp4", {"fps": -24}, "fps"), ("film.mp4", {"fps": float("nan")}, "fps"),
    ("film.mp4", {"fps": "24"}, "fps"), ("film.mp4", {"fps": float("inf")}, "fps"), ("film.gif", {"fps": 60}, "GIF"), ("film.gif", {"fps": 0.0015}, "a GIF shows 0.002 to 50")])
def test_impossible_films_are_refused_before_anything_is_written(tmp_path, name, settings, named):
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=named):
        write_video(tmp_path / name, moving(1), **{"fps": 24, **settings})
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["file", "folder.mp4"]


@pytest.mark.parametrize("bad", [np.zeros((8, 8, 3), np.float32), np.zeros((8, 8), np.uint8),
                                 np.zeros((8, 8, 4), np.uint8),
                                 np.zeros((8, 10, 3), np.uint8), np.zeros((0, 8, 3), np.uint8)])
@pytest.mark.parametrize("ending", [".mp4", ".png"])
def test_frames_of_another_kind_or_size_are_a_bug(tmp_path, bad, ending):
    with pytest.raises(ValueError):
        write_video(tmp_path / f"film{ending}", [np.zeros((8, 8, 3), np.uint8), bad], 24)
    assert not list(tmp_path.iterdir())


def test_a_film_too_wide_for_its_codec_is_one_line(tmp_path):
    with pytest.raises(UserError, match="16400x2: H.264 holds at most 16384"):
        write_video(tmp_path / "film.mp4", [np.zeros((2, 16400, 3), np.uint8)], 24)
    assert not list(tmp_path.iterdir())


def test_a_film_ended_by_a_scheduler_leaves_nothing(tmp_path):
    code = ("import numpy as np, sys; from utils.errors import script; from utils.video import write_video\n"
            "def frames():\n    while True:\n        print('.', flush=True); yield np.zeros((16, 16, 3), np.uint8)\n"
            f"script(lambda: write_video({str(tmp_path / 'film.mp4')!r}, frames(), 24))")
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT) as process:
        for _ in range(5):
            process.stdout.readline()
        assert len(list(tmp_path.iterdir())) == 1
        process.terminate()
        process.stdout.read()
    assert process.returncode == 128 + 15 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", [".mp4", ".avi", ".gif", ".png"])
def test_a_failure_leaves_nothing_and_spares_the_earlier_film(tmp_path, ending):
    def failing():
        yield from moving(60)
        raise RuntimeError("the generator broke")

    earlier = tmp_path / f"film{ending}"
    write_video(earlier, moving(1), 24)
    before = earlier.read_bytes()
    with pytest.raises(RuntimeError, match="broke"):
        write_video(earlier, failing(), 24)
    with pytest.raises(ValueError, match="no frames"):
        write_video(earlier, [], 24)
    assert [file.name for file in tmp_path.iterdir()] == [earlier.name]
    assert earlier.read_bytes() == before


FULL_DISK = """
import resource, sys
import numpy as np
from utils.errors import script
from utils.video import write_video

def main():
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # EFBIG where a full disk has ENOSPC
    noise = np.random.default_rng(0)
    write_video(sys.argv[1], (noise.integers(0, 255, (96, 96, 3), dtype=np.uint8) for _ in range(int(sys.argv[2]))), 24)

script(main)
"""


@pytest.mark.parametrize("name, count", [("film.mp4", 200), ("film.mp4", 3), ("film.avi", 200), ("film.gif", 20),
                                         ("film.png", 2)])
def test_no_room_is_one_line_and_leaves_the_earlier_film(tmp_path, name, count):
    (tmp_path / name).write_bytes(b"the earlier film")
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / name), str(count)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and str(tmp_path / name) in done.stderr and "tmp.mp4" not in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == b"the earlier film"


MEMORY = """
import resource, sys
import numpy as np
from utils.video import write_video

wide = np.random.default_rng(0).integers(0, 255, (48, 240, 3), dtype=np.uint8)
count = int(sys.argv[2])
write_video(sys.argv[1], (np.ascontiguousarray(wide[:, i % 192:i % 192 + 48]) for i in range(count)), 24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.parametrize("ending, many", [(".mp4", 10_000), (".avi", 10_000), (".gif", 600)])
def test_memory_does_not_grow_with_the_film(tmp_path, ending, many):
    def peak(count):
        command = [sys.executable, "-c", MEMORY, str(tmp_path / f"film{ending}"), str(count)]
        return float(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)

    # 10,000 frames of 48x48 are 66 MiB, 600 of them 4 MiB.
    assert peak(many) - peak(100) < (12 if many == 10_000 else 3)


@pytest.mark.parametrize("fps, exact", [
    (24, Fraction(24)), (25.0, Fraction(25)), (29.97, Fraction(30000, 1001)), (59.94, Fraction(60000, 1001)),
    (23.98, Fraction(24000, 1001)), (14.985, Fraction(15000, 1001)), (7.5, Fraction(15, 2)), (0.1, Fraction(1, 10)),
    (np.float32(29.97), Fraction(30000, 1001)), (np.int64(30), Fraction(30))])
def test_rates_mean_what_people_mean(fps, exact):
    assert exact_rate(fps) == exact


@given(st.floats(1, 240))
def test_any_rate_is_kept_closely(fps):
    assert float(exact_rate(fps)) == pytest.approx(fps, rel=5e-4)
