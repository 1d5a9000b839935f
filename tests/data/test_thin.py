import shutil
import subprocess

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data import thin
from data.cache import FrameCache
from data.decode import VideoStream, pick
from data.extract import Extraction, extract_frames, extract_one
from data.thin import Uneven, thin_stream
from tests.data.films import moving, rotate_tag, write_film

B_FRAMES = {"crf": "18", "preset": "medium", "bf": "3", "b-pyramid": "normal", "g": "25"}


def picked(stream, **how):
    try:
        return [(picture, repeats, broken) for picture, repeats, broken in pick(stream, **how)]
    finally:
        stream.close()


def same(ours, plain):
    return len(ours) == len(plain) and all(np.array_equal(a[0], b[0]) and a[1:] == b[1:] for a, b in zip(ours, plain))


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_film(tmp_path_factory.mktemp("thin") / "film.mp4", moving(90), options=B_FRAMES)


@pytest.mark.parametrize("skip", [2, 3, 4, 7, 100])
def test_thinned_frames_are_the_frames_of_the_whole_film(film, skip):
    stream = thin_stream(film, skip, None, 2)
    assert sum(stamp is None for stamp in stream._stamps) >= 9  # frames were really left out
    assert same(picked(stream, frame_skip=skip), picked(VideoStream(film), frame_skip=skip))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames=st.integers(2, 40), rate=st.sampled_from([10, 25, 30]), fps=st.sampled_from([3.0, 7.5, 12.0]),
       container=st.sampled_from(["mp4", "mkv", "mov"]), uneven=st.booleans(), bframes=st.integers(0, 4))
def test_any_film_by_rate(tmp_path, frames, rate, fps, container, uneven, bframes):
    seconds = [(index + (0.3 if uneven and index % 3 else 0)) / rate for index in range(frames)]
    path = write_film(tmp_path / f"film.{container}", moving(frames), rate=rate, seconds=seconds if uneven else None,
                      options={**B_FRAMES, "bf": str(bframes)})
    for how in ({"fps": fps}, {"frame_skip": 5}):
        stream = thin_stream(path, how.get("frame_skip", 1), how.get("fps"), 1)
        if stream is not None:
            assert same(picked(stream, **how), picked(VideoStream(path), **how))


def test_left_alone_where_it_would_not_pay_or_not_be_safe(film, tmp_path):
    assert thin_stream(film, 1, None, 1) is None  # every frame is wanted
    assert thin_stream(write_film(tmp_path / "p.mp4", moving(20), options={**B_FRAMES, "bf": "0"}), 4, None, 1) is None  # no such frames
    assert thin_stream(write_film(tmp_path / "other.mp4", moving(20), codec="mpeg4", options={}), 4, None, 1) is None
    assert thin_stream(write_film(tmp_path / "v.ts", moving(40), options=B_FRAMES), 4, None, 1) is None  # no lengths before the units
    assert thin_stream(rotate_tag(write_film(tmp_path / "r.mp4", moving(40), options=B_FRAMES)), 4, None, 1) is None
    (tmp_path / "text.mp4").write_text("no film")
    assert thin_stream(tmp_path / "text.mp4", 4, None, 1) is None


def test_where_the_decoder_disagrees_the_film_is_read_whole(film, tmp_path, monkeypatch):
    """A film whose packets promise frames that do not come: every extracted frame is still right."""
    how = Extraction(24, 32, frame_skip=4)
    expected = [frame for frame, _ in extract_frames(film, "video", how, thin=False)]
    honest = thin._packets
    monkeypatch.setattr(thin, "_packets",
                        lambda *given: [(stamp, time, unused or place == 50) for place, (stamp, time, unused) in enumerate(honest(*given))]
                        + [(10**9, 1e5, False)])
    with pytest.raises(Uneven):
        list(extract_frames(film, "video", how))
    (tmp_path / "frames").mkdir()
    extract_one((str(tmp_path), "key", str(film), "video", "film", [], how, 1), lambda count=1: None)
    assert np.array_equal(FrameCache(tmp_path).open("key"), np.stack(expected))


def remuxed(film, path, keep=lambda number: True):
    """The packets of ``film`` whose number in order of decoding is to be kept, in another container."""
    with av.open(str(film)) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for number, packet in enumerate(source.demux(stream)):
            if packet.size and keep(number):
                packet.stream = copy
                target.mux(packet)
    return path


def agrees(path, **how) -> bool:
    """Whether extraction with thinning, or what it falls back to, gives what extraction without it gives."""
    how = Extraction(24, 32, **how)
    plain = [frame for frame, _ in extract_frames(path, "video", how, thin=False)]
    try:
        thinned = [frame for frame, _ in extract_frames(path, "video", how)]
    except Uneven:
        return True
    return len(plain) > 0 and np.array_equal(thinned, plain)


@pytest.mark.parametrize("ending", ["avi", "mkv", "mov", "flv"])
def test_other_containers(film, tmp_path, ending):
    """AVI keeps no order of display: its time stamps are those of decoding."""
    path = tmp_path / f"film.{ending}"
    if ending == "avi":
        if shutil.which("ffmpeg") is None:
            pytest.skip("no ffmpeg, which can put H.264 into AVI unchanged")
        subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-i", film, "-c", "copy", path], check=True, timeout=60)
    else:
        remuxed(film, path)
    assert (thin_stream(path, 4, None, 1) is not None) == (ending in ("mkv", "mov"))
    assert agrees(path, frame_skip=4) and agrees(path, fps=7.5)


@pytest.mark.parametrize("keep",
                         [lambda number: number % 17, lambda number: number > 0, lambda number: number < 3, lambda number: number > 40])
def test_films_with_holes(film, tmp_path, keep):
    path = remuxed(film, tmp_path / "holes.mkv", keep)
    assert agrees(path, frame_skip=2) and agrees(path, frame_skip=3)


@pytest.mark.parametrize("options", [{"b-pyramid": "none"}, {"b-pyramid": "strict"}, {"open-gop": "1", "g": "8"},
                                     {"bf": "8", "b_strategy": "0"}, {"g": "9999"}, {"slices": "3"}, {"flags": "+ildct+ilme"}], ids=str)
def test_ways_to_encode(tmp_path, options):
    params = ":".join(f"{name}={value}" for name, value in options.items() if name == "open-gop")
    path = write_film(tmp_path / "film.mp4", moving(60),
                      options={**B_FRAMES, **{name: value for name, value in options.items() if name != "open-gop"},
                               **({"x264-params": params} if params else {})})
    assert (thin_stream(path, 3, None, 1) is not None) == ("flags" not in options)  # all but interlaced
    assert agrees(path, frame_skip=3) and agrees(path, fps=7.5)


def test_a_fault_inside_the_callback_does_not_reach_opencv(film):
    source = thin._Thinned(film, set())
    source._packets = iter([None])  # what follows fails
    assert source.read(4096) == b"" and source.failed
    source.close()


def test_the_same_number_of_other_frames_is_noticed(film):
    stream = thin_stream(film, 4, None, 1)
    kept = [index for index, stamp in enumerate(stream._stamps) if stamp is not None]
    stream._times[kept[3]] += 0.04
    with pytest.raises(Uneven):
        picked(stream, frame_skip=4)


def test_a_picture_is_free_only_if_all_its_slices_are():
    def unit(*heads):
        return memoryview(b"".join(b"\0\0\0\2" + bytes([head, 0]) for head in heads))
    assert thin._unreferenced(unit(0x06, 0x01, 0x01), 4) and not thin._unreferenced(unit(0x06, 0x01, 0x41), 4)
    assert not thin._unreferenced(unit(0x06), 4) and not thin._unreferenced(unit(0x65), 4)
