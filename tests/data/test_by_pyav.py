import av
import numpy as np
import pytest

from data.by_pyav import PyAVStream, needs_pyav
from data.decode import open_stream, pick, read_frames
from data.probe import ProbeTask, probe
from tests.data.films import moving, rotate_tag, write_film

FIELDS = {"flags": "+ildct+ilme"}


@pytest.mark.parametrize("name, codec, options", [("a.mp4", "libx264", {"crf": "4", "bf": "3"}), ("a.mkv", "libx264", {"crf": "4"}),
                                                  ("a.mpg", "mpeg2video", {"b": "4M"}), ("a.avi", "mpeg4", {"b": "4M"})])
def test_interlaced_films_give_their_pictures(tmp_path, name, codec, options):
    """OpenCV 5 gives memory that was never written for them."""
    frames = [np.repeat(frame.mean(-1, keepdims=True).astype(np.uint8), 3, -1) for frame in moving(20, speed=1)]
    path = write_film(tmp_path / name, frames, codec=codec, options={**options, **FIELDS})
    plain = write_film(tmp_path / f"p_{name}", frames, codec=codec, options=options)
    assert needs_pyav(path) and needs_pyav(plain) == (codec == "mpeg2video")  # which may become interlaced later
    ours = np.stack(list(read_frames(path)))
    assert len(ours) == 20 and np.abs(ours.astype(int) - np.stack(frames)).mean() < 4
    every_third = np.stack(list(read_frames(path, frame_skip=3)))
    assert np.array_equal(every_third, ours[::3])


@pytest.mark.parametrize("turn, shown", [((-1, 0, 0, 1), lambda film: film[:, :, ::-1]), ((1, 0, 0, -1), lambda film: film[:, ::-1]),
                                         ((0, 1, 1, 0), lambda film: film.transpose(0, 2, 1, 3)),
                                         ((0, -1, -1, 0), lambda film: film.transpose(0, 2, 1, 3)[:, ::-1, ::-1])])
def test_films_to_be_shown_in_a_mirror_are(tmp_path, turn, shown):
    """Selfies, by the matrix of ISO 14496-12: (x, y) goes to (a x + c y, b x + d y)."""
    path = write_film(tmp_path / "selfie.mp4", moving(8, speed=3), options={"crf": "4"})
    plain, data = np.stack(list(read_frames(path))), path.read_bytes()
    mirrored = np.stack(list(read_frames(rotate_tag(path, turn))))
    assert mirrored.shape == shown(plain).shape and np.abs(mirrored.astype(int) - shown(plain)).mean() < 1
    health = probe(ProbeTask(str(path), "video", path.name, size=path.stat().st_size))
    assert "mirrored" in health.notes
    path.write_bytes(data)
    assert "mirrored" not in probe(ProbeTask(str(path), "video", path.name, size=path.stat().st_size)).notes


def test_times_rotation_and_damage(tmp_path):
    frames = moving(30, speed=1)
    path = write_film(tmp_path / "a.mp4", frames, options={"crf": "4", "bf": "2", "g": "5", **FIELDS})
    stream = PyAVStream(path)
    times = []
    while (time := stream.step()) is not None:
        times.append(time)
    stream.close()
    assert times == pytest.approx([index / 25 for index in range(30)])
    upright = np.stack(list(read_frames(path)))
    turned = np.stack(list(read_frames(rotate_tag(path))))
    assert np.array_equal(turned, np.rot90(upright, -1, axes=(1, 2)))
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        place = [packet.pos for packet in container.demux(video=0) if packet.size][12]
    data[place + 8:place + 40] = bytes(32)
    (tmp_path / "hurt.mp4").write_bytes(data)
    stream = open_stream(tmp_path / "hurt.mp4", "video")
    assert isinstance(stream, PyAVStream) and 20 <= len(list(pick(stream))) <= 30
    stream.close()


def test_what_is_no_film_is_not_interlaced(tmp_path):
    (tmp_path / "a.mp4").write_text("no film")
    assert not needs_pyav(tmp_path / "a.mp4") and not needs_pyav(tmp_path / "gone.mp4")


def test_colours_of_unknown_kinds_give_their_pictures(tmp_path):
    """OpenCV 5 gives memory that was never written for them."""
    frames = moving(8, speed=1)
    plain, tagged = (write_film(tmp_path / f"{name}.mp4", frames, options={"crf": "4", **options})
                     for name, options in (("plain", {}), ("tagged", {"x264-params": "transfer=log100"})))
    assert needs_pyav(tagged) and not needs_pyav(plain)
    assert np.array_equal(list(read_frames(tagged)), list(read_frames(plain)))


def test_av1_is_read(tmp_path):
    """OpenCV has no decoder of it."""
    if "libsvtav1" not in av.codecs_available:
        pytest.skip("no encoder of AV1")
    frames = moving(8, speed=1, height=64, width=64)
    path = write_film(tmp_path / "a.mp4", frames, codec="libsvtav1", options={"crf": "10"})
    ours = np.stack(list(read_frames(path)))
    assert len(ours) == 8 and np.abs(ours.astype(int) - np.stack(frames)).mean() < 12
