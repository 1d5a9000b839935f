"""Frames per second of extraction beside the plain loop that reads every frame.

    python -m benchmarks.extraction            # writes benchmarks/results/extraction.json

The film is made here: 720p H.264 of a moving texture. Both sides work in one process, keep every 4th frame and resize it the same way;
the plain loop decodes every frame with ``VideoCapture.read``, ours leaves out the packets that nobody needs and steps over the other
frames with ``grab``. They take turns, so that a busy machine slows both. The kept pixels are compared and must be equal.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import av
import cv2
import numpy as np

from benchmarks.machine import describe, summary
from data.cache import FrameCache
from data.decode import fit_frame
from data.extract import ExtractTask, Extraction, decoder_threads, extract_frames, extract_one
from utils.files import write_json
from utils.video import write_video

HEIGHT, WIDTH, SKIP = 160, 320, 4


def film(frames: int):
    """A 720p window that wanders over a large fine texture."""
    draw = np.random.default_rng(0)
    coarse = cv2.resize(draw.integers(0, 256, (90, 160, 3), dtype=np.uint8), (1600, 900), interpolation=cv2.INTER_CUBIC)
    texture = np.clip(coarse.astype(np.int16) + draw.integers(-6, 7, coarse.shape), 0, 255).astype(np.uint8)
    for index in range(frames):
        x, y = int(160 + 150 * np.sin(index / 25)), int(90 + 80 * np.cos(index / 18))
        yield texture[y:y + 720, x:x + 1280]


def decoded(path: Path) -> int:
    """Frames that the film really holds."""
    capture, count = cv2.VideoCapture(str(path)), 0
    while capture.grab():
        count += 1
    return count


def plain(path: Path) -> list[np.ndarray]:
    """The loop everybody writes first."""
    capture, kept, index = cv2.VideoCapture(str(path)), [], 0
    while True:
        ok, frame = capture.read()
        if not ok:
            return kept
        if index % SKIP == 0:
            kept.append(cv2.cvtColor(fit_frame(frame, HEIGHT, WIDTH), cv2.COLOR_BGR2RGB))
        index += 1


def ours(path: Path) -> list[np.ndarray]:
    """What a worker of the extraction does, on all processors as it would with a single video."""
    return [frame for frame, _ in extract_frames(path, "video", Extraction(HEIGHT, WIDTH, frame_skip=SKIP), threads=decoder_threads(1))]


def whole(path: Path, folder: str, turn: int) -> None:
    """The same and all that goes with it: cut detection, the cache's files, fsync."""
    how = Extraction(HEIGHT, WIDTH, frame_skip=SKIP)
    extract_one(ExtractTask(folder, f"turn{turn}", str(path), "video", path.name, [], how, decoder_threads(1)), lambda count=1: None)
    FrameCache(Path(folder)).frames_path(f"turn{turn}").unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--video", help="a 720p film of your own instead of the texture")
    parser.add_argument("--output", default="benchmarks/results/extraction.json")
    options = parser.parse_args()
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "frames").mkdir()
        path = Path(options.video or Path(folder) / "film.mp4")
        if not options.video:
            write_video(path, film(options.frames), 25, crf=23)
        frames = decoded(path)
        one, two = plain(path), ours(path)  # also warms both up
        if not np.array_equal(np.stack(one), np.stack(two)):
            raise SystemExit("the two sides kept different pixels")
        seconds = {"plain": [], "ours": [], "ours_into_cache": []}
        for turn in range(options.rounds):
            for name, run in (("plain", lambda: plain(path)), ("ours", lambda: ours(path)),
                              ("ours_into_cache", lambda: whole(path, folder, turn))):
                start = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - start)
        size = path.stat().st_size
    rates = {name: [frames / value for value in values] for name, values in seconds.items()}
    ratios = {name: [a / b for a, b in zip(seconds["plain"], seconds[name])] for name in ("ours", "ours_into_cache")}
    result = {"what": "source frames per second, 1280x720 H.264, every 4th frame kept at 160x320, one process",
              "command": f"python -m benchmarks.extraction --frames {options.frames} --rounds {options.rounds}"
                         + (" --video FILM" if options.video else ""),
              "film": {"frames": frames, "bytes": size, "kind": "given by --video" if options.video else "moving texture, made here"},
              "frames_per_second": {name: summary(values) for name, values in rates.items()},
              "times_plain": {name: summary(values) for name, values in ratios.items()}, "pixels_equal": True,
              "machine": {**describe(), "opencv": cv2.__version__, "av": av.__version__, "load": os.getloadavg()[0]}}
    write_json(Path(options.output), result)
    for name, numbers in result["frames_per_second"].items():
        ratio = f", {result['times_plain'][name]['median']:.2f} times plain" if name in ratios else ""
        print(f"{name}: {numbers['median']:.0f} frames/s ({numbers['min']:.0f} to {numbers['max']:.0f}){ratio}")


if __name__ == "__main__":
    main()
