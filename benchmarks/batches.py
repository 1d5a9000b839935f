"""Clips per second of random access beside decord and torchcodec, on the same videos.

    python -m benchmarks.batches               # writes benchmarks/results/batches.json

A batch is 16 clips of 16 consecutive frames at 64x64, drawn at random from H.264 films made here (320x240, as in UCF-101, x264's
own key frame distance of 250). Ours reads them from its cache, which it filled once before (that time is reported too); the peers
seek and decode, as their users do, with decoders kept open, frames brought to 64x64 (decord resizes while it decodes). A peer that
cannot be imported is skipped, and said so. A folder of videos may be given instead: --data videos/.
"""

import argparse
import importlib
import os
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.extraction import film
from benchmarks.machine import describe, summary
from data.batches import Batches
from data.dataset import VideoDataset
from data.decode import fit_frame
from data.layouts import find_sources
from utils.files import write_json
from utils.video import write_video

SIZE, FRAMES, BATCH = 64, 16, 16


def make_films(folder: Path, count: int, frames: int) -> None:
    for number in range(count):
        pictures = (cv2.resize(np.roll(picture, 97 * number, axis=1), (320, 240), interpolation=cv2.INTER_AREA) for picture in film(frames))
        write_video(folder / f"{number:02d}.mp4", pictures, 25, crf=20)


class Ours:
    """The data set as training uses it; ``storage`` device (here: memory) and disk."""

    def __init__(self, data: Path, cache: str, storage: str):
        self._dataset = VideoDataset(data, SIZE, SIZE, FRAMES, cache_dir=cache, storage=storage, quiet=True)
        self._batches = Batches(self._dataset, BATCH, seed=0, workers=0)

    def batch(self, turn: int) -> torch.Tensor:
        return self._batches.at(turn)["video"]


class Decord:
    """decord.VideoReader.get_batch: seeks, decodes and resizes in C."""

    def __init__(self, data: Path, *_):
        decord = importlib.import_module("decord")
        self.version = decord.__version__
        self._readers = [decord.VideoReader(str(source.path), width=SIZE, height=SIZE) for source in find_sources(data).sources]

    def batch(self, turn: int) -> torch.Tensor:
        return torch.from_numpy(np.stack([self._readers[video].get_batch(range(start, start + FRAMES)).asnumpy()
                                          for video, start in places(turn, [len(reader) for reader in self._readers])]))


class TorchCodec:
    """torchcodec's VideoDecoder.get_frames_in_range, then our resize."""

    def __init__(self, data: Path, *_):
        decoders = importlib.import_module("torchcodec.decoders")
        self.version = importlib.import_module("torchcodec").__version__
        self._readers = [decoders.VideoDecoder(str(source.path), dimension_order="NHWC", seek_mode="approximate")
                         for source in find_sources(data).sources]

    def batch(self, turn: int) -> torch.Tensor:
        clips = [self._readers[video].get_frames_in_range(start, start + FRAMES).data.numpy()
                 for video, start in places(turn, [len(reader) for reader in self._readers])]
        return torch.from_numpy(np.stack([[fit_frame(frame, SIZE, SIZE, "stretch") for frame in clip] for clip in clips]))


def places(turn: int, lengths: list[int]) -> list[tuple[int, int]]:
    draw = np.random.default_rng(turn)
    videos = draw.integers(len(lengths), size=BATCH)
    return [(int(video), int(draw.integers(lengths[video] - FRAMES + 1))) for video in videos]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=None, help="a folder of videos instead of the films made here")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", default="benchmarks/results/batches.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        data = options.data or Path(scratch) / "films"
        if options.data is None:
            data.mkdir()
            make_films(data, 8, 250)
        start = time.perf_counter()
        sides = {"ours, memory": Ours(data, scratch, "device")}
        filling = time.perf_counter() - start
        sides["ours, disk"] = Ours(data, scratch, "disk")
        skipped = {}
        for name, peer in (("decord", Decord), ("torchcodec", TorchCodec)):
            try:
                sides[name] = peer(data)
            except (ImportError, OSError, RuntimeError) as error:
                skipped[name] = str(error).splitlines()[0]
                print(f"{name}: skipped, it cannot be imported ({skipped[name]})")
        rates: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(options.rounds + 1):
            for name, side in sides.items():
                batches = 200 if name.startswith("ours") else 3
                start = time.perf_counter()
                for place in range(batches):
                    shape = side.batch(1000 * turn + place).shape
                assert tuple(shape) == (BATCH, FRAMES, SIZE, SIZE, 3), (name, shape)
                if turn:  # the first round warms up
                    rates[name].append(batches * BATCH / (time.perf_counter() - start))
    numbers = {name: summary(values) for name, values in rates.items()}
    peers = {name: numbers[name]["median"] for name in ("decord", "torchcodec") if name in numbers}
    fastest = max(peers, key=peers.get, default=None)
    times = {name: numbers[name]["median"] / peers[fastest] for name in numbers if name.startswith("ours")} if fastest else {}
    command = f"python -m benchmarks.batches --rounds {options.rounds}" + (f" --data {options.data}" if options.data else "")
    versions = {"opencv": cv2.__version__, **{name: sides[name].version for name in peers}}
    result = {"what": f"clips per second, random access, {FRAMES} frames of {SIZE}x{SIZE}, batches of {BATCH}",
              "bar": "ours / the faster peer >= 50", "command": command, "clips_per_second": numbers,
              "times_the_faster_peer": times, "faster_peer": fastest, "seconds_to_fill_the_cache": filling, "skipped": skipped,
              "machine": {**describe(), **versions, "load": os.getloadavg()[0]}}
    write_json(Path(options.output), result)
    for name, values in numbers.items():
        ratio = f", {times[name]:.0f} times {fastest}" if name in times else ""
        print(f"{name}: {values['median']:.0f} clips/s ({values['min']:.0f} to {values['max']:.0f}){ratio}")


if __name__ == "__main__":
    main()
