"""Paired comparison: which file belongs to which, and every frame against its own reference."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from metrics.registry import Metric
from utils.errors import UserError

Reader = Callable[[Path], Iterator[np.ndarray]]
_PIXELS = 2**21  # compared at a time: SSIM holds some hundred bytes for each


@dataclass(frozen=True)
class Pair:
    """A file of references and the file that is compared with it."""

    name: str
    real: Path
    fake: Path


@dataclass
class Comparison:
    """Per-frame values of every metric over all pairs, in order."""

    values: dict[str, torch.Tensor]
    frames: list[tuple[Pair, int]]
    """For each value the pair and the number of the frame in it."""
    sizes: set[tuple[int, int]]
    content: str = ""
    """Equal only for the same references under the same names."""
    notes: list[str] = field(default_factory=list)


def find_pairs(real: Path, fake: Path, endings: Iterable[str]) -> tuple[list[Pair], list[str]]:
    """Pairs files of two folders by their path below the folder, endings aside; single files pair with each other
    whatever their names.

    Returns the pairs sorted by name, and remarks on files left without a partner. UserError if nothing pairs or a name
    is ambiguous. """
    reals, fakes = _media(real, "--real", endings), _media(fake, "--fake", endings)
    if len(reals) == len(fakes) == 1:
        return [Pair(next(iter(reals)), *reals.values(), *fakes.values())], []
    names = sorted(reals.keys() & fakes.keys())
    if not names:
        raise UserError(f"no file in {fake} is named like one in {real} (say {min(reals)} there, {min(fakes)} here): "
                        f"metrics of pairs compare files of the same name")
    notes = [f"{len(side) - len(names)} of {len(side)} files in {folder} have no partner in {other} and are left out"
             for side, folder, other in ((reals, real, fake), (fakes, fake, real)) if len(side) > len(names)]
    return [Pair(name, reals[name], fakes[name]) for name in names], notes


def compare_pairs(pairs: list[Pair], metrics: dict[str, Metric], read: Reader, *, shortest: bool = False,
                  batch_size: int = 16, on_pair: Callable[[], None] = lambda: None) -> Comparison:
    """Every frame against its reference. ``read(path)`` yields uint8 ``(H, W, 3)``; memory holds ``batch_size`` frames
    of each side.

    UserError if the two differ in size, or in length unless ``shortest``: then the longer one's end is left out and
    noted. """
    values: dict[str, list[torch.Tensor]] = {name: [] for name in metrics}
    result, digest = Comparison({}, [], set()), hashlib.blake2b(digest_size=16)
    for pair in pairs:
        digest.update(f"/{pair.name}/".encode(errors="surrogateescape"))
        streams = read(pair.real), read(pair.fake)
        count = 0
        while True:
            real, fake = (list(islice(stream, batch_size)) for stream in streams)
            common = min(len(real), len(fake))
            if len(real) != len(fake):
                lengths = [count + len(side) + sum(1 for _ in stream) for side, stream in zip((real, fake), streams)]
                _uneven(pair, lengths, shortest, result)
            if not common:
                break
            _same_size(pair, real[:common], fake[:common], metrics)
            result.sizes.add(real[0].shape[:2])
            some = max(1, _PIXELS // (real[0].shape[0] * real[0].shape[1]))
            for start in range(0, common, some):
                reference, frames = (torch.from_numpy(np.stack(side[start:min(common, start + some)])) for side in (real, fake))
                digest.update(reference.numpy().data)
                for name, metric in metrics.items():
                    values[name].append(metric.function(frames, reference, data_range=255))
            result.frames += [(pair, count + index) for index in range(common)]
            count += common
        if not count:
            raise UserError(f"{pair.real} and {pair.fake}: no frame to compare")
        on_pair()
    result.values, result.content = {name: torch.cat(parts) for name, parts in values.items()}, digest.hexdigest()
    return result


def extremes(comparison: Comparison, name: str, metric: Metric, read: Reader) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """The worst, the middle and the best frame by ``metric`` of that ``name``: (caption, reference, result) with frames uint8 ``(H,
    W, 3)``."""
    order = torch.argsort(comparison.values[name], stable=True, descending=metric.better == "lower").tolist()
    chosen = dict.fromkeys([order[0], order[len(order) // 2], order[-1]])
    rows = []
    for place, index in zip(("worst", "middle", "best") if len(chosen) == 3 else ("worst", "best"), chosen):
        pair, frame = comparison.frames[index]
        reference, result = (next(islice(read(path), frame, None)) for path in (pair.real, pair.fake))
        caption = f"{pair.name}, frame {frame}, {place} {name} {comparison.values[name][index]:.4g}"
        rows.append((caption, reference, result))
    return rows


def curves(comparison: Comparison, name: str) -> dict[str, np.ndarray]:
    """Values of metric ``name`` over time: for each pair by name float64 ``(T,)``, its frames in order."""
    found: dict[str, list[float]] = {}
    for (pair, _), value in zip(comparison.frames, comparison.values[name].tolist()):
        found.setdefault(pair.name, []).append(value)
    return {pair: np.array(values) for pair, values in found.items()}


def _media(source: Path, flag: str, endings: Iterable[str]) -> dict[str, Path]:
    """Files by their path below ``source`` without the ending."""
    if source.is_file():
        return {source.stem: source}
    if not source.is_dir():
        raise UserError(f"{flag} {source}: there is no such file or folder")
    found: dict[str, Path] = {}
    for path in sorted(source.rglob("*")):
        below = path.relative_to(source)
        if path.suffix.lower() not in endings or not path.is_file() or any(part.startswith(".") for part in below.parts):
            continue
        name = below.with_suffix("").as_posix()
        if name in found:
            raise UserError(f"{flag} {source}: {found[name].name} and {path.name} share a name; which one is meant?")
        found[name] = path
    if not found:
        raise UserError(f"{flag} {source}: holds no video and no image")
    return found


def _uneven(pair: Pair, counts: list[int], shortest: bool, result: Comparison) -> None:
    if not shortest:
        raise UserError(f"{pair.real} has {counts[0]} frames and {pair.fake} has {counts[1]}: metrics of pairs need one for "
                        f"one; --shortest compares the first {min(counts)}")
    result.notes.append(f"{pair.name}: {counts[0]} real and {counts[1]} fake frames, the first {min(counts)} compared")


def _same_size(pair: Pair, real: list[np.ndarray], fake: list[np.ndarray], metrics: dict[str, Metric]) -> None:
    shapes = {frame.shape[:2] for frame in real} | {frame.shape[:2] for frame in fake}
    if len(shapes) > 1:
        sizes = " and ".join("x".join(map(str, shape)) for shape in (real[0].shape[:2], fake[0].shape[:2]))
        raise UserError(f"{pair.real} and {pair.fake} differ in size ({sizes}): metrics of pairs need equal sizes; "
                        f"--height and --width bring both to one")
    for name, metric in metrics.items():
        if min(real[0].shape[:2]) < metric.smallest:
            raise UserError(f"{pair.real}: frames of {real[0].shape[0]}x{real[0].shape[1]} pixels are too small for {name}, "
                            f"which needs {metric.smallest}x{metric.smallest}")
