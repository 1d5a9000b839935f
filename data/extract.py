"""From videos to cached frames: decode, choose, resize, store; several videos at a time."""

import errno
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from data.cache import FrameCache, content_keys, entry_key
from data.cuts import SHAPE, find_cuts, thumbnail
from data.decode import fit_frame, open_stream, pick
from data.health import Health
from data.layouts import Source
from data.pool import Failure, WorkerPool, cpu_count
from data.stabilize import stabilized
from data.thin import Uneven, thin_stream
from utils.errors import UserError
from utils.progress import Progress

_IN_FLIGHT = 8  # pictures that wait for the resizing thread


@dataclass(frozen=True)
class Extraction:
    """What to keep of every video. Exactly these settings, with the video's content, name an entry of the cache."""

    height: int
    width: int
    fit: str = "crop"
    frame_skip: int = 1
    fps: float | None = None
    image_fps: float = 25.0
    stabilize: bool = False


def extract_frames(path: Path, kind: str, how: Extraction, bad: list = (), threads: int = 1, on_step=lambda count=1: None,
                   thin: bool = True):
    """Yields (uint8 RGB (height, width, 3), whether time breaks before it).

    Decoding and resizing overlap: while a second thread resizes, the decoder already works on the next frame. ``thin`` leaves frames
    undecoded where that is known to be safe; raises :class:`data.thin.Uneven` where it turns out not to be.
    """
    stream = thin_stream(path, how.frame_skip, how.fps, threads, on_step) if thin and kind == "video" and not bad else None
    stream = stream or open_stream(path, kind, how.image_fps, threads)
    waiting: deque = deque()
    try:
        with ThreadPoolExecutor(1) as finisher:
            chosen = pick(stream, how.frame_skip, how.fps, bad, on_step)
            for picture, repeats, broken in stabilized(chosen) if how.stabilize else chosen:
                waiting.append((finisher.submit(_finish, picture, how), repeats, broken))
                while len(waiting) > _IN_FLIGHT:
                    yield from _unroll(*waiting.popleft())
            while waiting:
                yield from _unroll(*waiting.popleft())
    finally:
        stream.close()


def _finish(picture: np.ndarray, how: Extraction) -> np.ndarray:
    return cv2.cvtColor(fit_frame(picture, how.height, how.width, how.fit), cv2.COLOR_BGR2RGB)


def _unroll(future, repeats: int, broken: bool):
    for turn in range(repeats):
        yield future.result(), broken and not turn


def decoder_threads(processes: int) -> int:
    """Threads for each of ``processes`` decoders: with fewer of them than processors, their threads use the rest.

    Four to a processor: a decoder's threads wait for each other and, while a picture is fetched, for their caller.
    """
    spare = cpu_count() // processes
    return min(16, 4 * spare) if spare > 1 else 1


class ExtractTask(NamedTuple):
    """One video to extract: the cache's folder and the key of its entry there, what it is, its ``bad`` stretches, and how."""

    folder: str
    key: str
    path: str
    kind: str
    name: str
    bad: list
    how: Extraction
    threads: int


def extract_one(task: ExtractTask, beat) -> dict:
    """Extract one video into the cache, unless another process just did. Returns the entry."""
    folder, key, path, kind, name, bad, how, threads = task
    cache = FrameCache(folder)
    if (entry := cache.load(key)) is not None:
        return entry
    thumbnails, gaps = bytearray(), []  # of a day's film: arrays of their own would take twice the memory

    def frames(thin: bool):
        thumbnails.clear(), gaps.clear()
        for number, (frame, broken) in enumerate(extract_frames(Path(path), kind, how, bad, threads, beat, thin)):
            if broken and number:
                gaps.append(number)
            thumbnails.extend(thumbnail(frame).tobytes())
            yield frame

    def describe(count: int) -> dict:
        # Across a gap the picture may jump without a cut; each side is judged on its own.
        edges, small = [0, *gaps, count], np.frombuffer(thumbnails, np.uint8).reshape(count, *SHAPE)
        cuts = [start + cut for start, end in zip(edges, edges[1:])
                for cut in find_cuts(small[start:end], beat)]
        return {"height": how.height, "width": how.width, "cuts": cuts, "gaps": gaps, "source": name, "settings": asdict(how)}

    try:
        return cache.write(key, frames(thin=True), describe)
    except Uneven:
        return cache.write(key, frames(thin=False), describe)


def _special(health: Health) -> dict:
    """Part of a key only where pixels are not square, where there is damage, beyond which films were not read once, or a mirror, which was
    not seen: whatever else was extracted before that is still known. (A quick scan sees neither, and takes what is known of such a
    film.)"""
    return ({} if health.pixel_aspect == 1 else {"pixel_aspect": health.pixel_aspect}) | (
        {"past_damage": True} if health.kind == "video" and health.status == "damaged" else {}) | (
        {"mirrored": True} if health.mirrored else {})


def _content(source: Source, health: Health) -> str:
    """What tells one video from others. Of one that could not be read when it was hashed only its place and age are known."""
    if health.content:
        return health.content
    place = source.path.resolve()
    return f"{place} of {place.stat().st_mtime_ns if place.exists() else 0}"


def _check_unchanged(cache: FrameCache, key: str, source: Source, health: Health) -> None:
    """UserError, and no entry, if a video that gave fewer frames than were counted is another one by now: decoders take the end of a file
    that is still being copied for the end of the film."""
    if health.content and content_keys([source])[0][0] != health.content:
        cache.forget(key)
        raise UserError(f"{source.path}: changed while it was read; start again once it is complete")


def _full(cache: FrameCache, why: str, size: float) -> UserError:
    return UserError(f"the frame cache {cache.folder} is full ({why}): this needs about {size / 1e9:.1f} GB; "
                     "choose another with --cache_dir, or a larger --frame_skip")


def extract_all(cache: FrameCache, sources: list[Source], healths: list[Health], how: Extraction, pool: WorkerPool,
                quiet: bool = False) -> tuple[list[str], list[dict | Failure]]:
    """Extract what the cache lacks; returns each source's key and its entry, or a :class:`Failure` where the decoder gave up.

    Raises UserError if the disk is full.
    """
    keys = [entry_key(_content(source, health), {**asdict(how), "bad": health.bad, "kind": health.kind, **_special(health)})
            for source, health in zip(sources, healths)]
    entries: list = [cache.load(key) for key in keys]
    missing = [index for index, entry in enumerate(entries) if entry is None]
    first_of = {keys[index]: index for index in reversed(missing)}  # duplicates are extracted once
    todo = sorted(first_of.values())
    if todo:
        # Processes that fill one cache together begin at different places, and so share the work.
        turn = os.getpid() * 7919 % len(todo)
        todo = todo[turn:] + todo[:turn]
        threads = decoder_threads(min(pool.workers, len(todo)))
        tasks = [ExtractTask(folder=str(cache.folder), key=keys[index], path=str(sources[index].path), kind=sources[index].kind,
                             name=sources[index].name, bad=healths[index].bad, how=how, threads=threads) for index in todo]
        total = sum(healths[index].frames + healths[index].corrupt for index in todo)
        # By time fewer may come, where a film stands still for long, and more.
        frames = sum(-(-min(healths[index].frames, healths[index].frames_at(how.fps)) // how.frame_skip) for index in todo)
        size = frames * how.height * how.width * 3
        if size > (free := cache.free_bytes()):
            raise _full(cache, f"{free / 1e9:.1f} GB are free", size)

        def check(task: int, result: dict | Failure) -> None:
            index = todo[task]
            if isinstance(result, dict) and result["frames"] < -(-healths[index].frames_at(how.fps) // how.frame_skip):
                _check_unchanged(cache, keys[index], sources[index], healths[index])

        try:
            with Progress(total, f"extracting {len(todo)} video{'s' * (len(todo) != 1)}", "frames", quiet=quiet) as progress:
                results = pool.map(extract_one, tasks, on_beat=progress.update, on_done=check)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise _full(cache, error.strerror, size) from None
            raise
        for index, result in zip(todo, results):
            first_of[keys[index]] = result
        for index in missing:
            entries[index] = first_of[keys[index]]
    return keys, entries
