"""The frame cache: uint8 RGB frames on disk, one .npy per source video, with a .json that says what is in it.

An entry's name is a hash of the video's content and of the settings of the extraction, so equal names mean equal frames:
several processes or machines may share the folder, and whoever renames last changes nothing. The .json is written after
the .npy; an entry without it does not exist.
"""

import errno
import hashlib
import json
import math
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from data.layouts import Source, image_files
from utils.errors import UserError
from utils.files import atomic_file, temporary_beside, write_json
from utils.progress import Progress

FORMAT = 3  # raise it when extraction comes to give other pixels for the same settings
_HEADER_BYTES = 128  # of a .npy file, whatever the number of frames: NumPy leaves room for it to grow
_STALE_SECONDS = 24 * 3600
_SETTLED_NS = 2_000_000_000
_WORTH_BYTES = 1 << 20  # to remember less than this takes longer than to read it
_LONG_BYTES = 1 << 30  # more than this takes so long to read that it is shown
_SYNC_BYTES = 32 << 20


def cache_folder(cache_dir: str | Path | None = None) -> Path:
    """``cache_dir``, else $VIDGAN_CACHE, else ~/.cache/vidgan. Created, tried, and cleared of what killed runs left behind."""
    folder = Path(os.path.expanduser(cache_dir or os.environ.get("VIDGAN_CACHE") or "~/.cache/vidgan"))
    try:
        for part in ("frames", "health"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        trial = temporary_beside(folder / "frames" / "trial")
        trial.touch()
        trial.unlink()
        for part in ("frames", "health", "features", "synthetic"):
            _sweep(folder / part)
    except OSError as error:
        raise UserError(f"the frame cache {folder} cannot be written ({error.strerror}); choose another with --cache_dir "
                        "or $VIDGAN_CACHE") from None
    return folder


def _sweep(folder: Path) -> None:
    for path in folder.glob(".*.tmp*"):
        try:
            if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        except OSError:
            pass  # another process was quicker


def content_keys(sources: list[Source], folder: Path | None = None, quiet: bool = True) -> list[tuple[str, int]]:
    """For each source the hash of its bytes and their number. An unreadable source hashes to "". Those of files that have not changed
    since are remembered in the cache ``folder``, if one is given."""
    memos = [_memo(source, folder) for source in sources]
    found = [_recalled(path) for path, _ in memos]
    todo = [index for index, key in enumerate(found) if key is None]
    large = sum(memos[index][1] for index in todo) > _LONG_BYTES
    with ThreadPoolExecutor(8) as threads, Progress(len(todo), "reading", "videos", quiet=quiet or not large) as progress:
        for index, key in zip(todo, threads.map(lambda index: _content_key(sources[index]), todo)):  # hashing frees the interpreter's lock
            found[index] = key
            progress.update()
            if memos[index][0] is not None and key[0] and key[1] == memos[index][1]:  # all of it could be read
                write_json(memos[index][0], key)
    return found


def _memo(source: Source, folder: Path | None) -> tuple[Path | None, int]:
    """Where its key is remembered, if it is, and its size in bytes. Files of the same place, size and times hold the same: the time of
    the last change (ctime) cannot be set back. One that changed a moment ago may change again within the same tick of that clock."""
    try:
        files = image_files(source.path) if source.kind == "frames" else [source.path]
        states = [file.stat() for file in files]
    except OSError:
        return None, 0
    size = sum(state.st_size for state in states)
    if folder is None or size < _WORTH_BYTES or any(time.time_ns() - state.st_ctime_ns < _SETTLED_NS for state in states):
        return None, size
    facts = [[file.name, state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns]
             for file, state in zip(files, states)]
    name = hashlib.blake2b(json.dumps([source.kind, os.path.realpath(source.path), facts]).encode(), digest_size=16).hexdigest()
    return folder / "health" / f"key-{name}.json", size


def _recalled(path: Path | None) -> tuple[str, int] | None:
    try:
        content, size = json.loads(path.read_text(encoding="utf-8")) if path else (None, 0)
        return (content, size) if content else None
    except (OSError, ValueError, TypeError):
        return None


def _content_key(source: Source) -> tuple[str, int]:
    digest, size = hashlib.blake2b(source.kind.encode(), digest_size=16), 0
    try:
        files = image_files(source.path) if source.kind == "frames" else [source.path]
        for file in files:
            try:
                if not file.is_file():  # whoever opens a pipe waits for its other end
                    raise OSError(errno.EINVAL, "not a regular file", str(file))
                length = _add(digest, file)
            except OSError:
                if source.kind != "frames":
                    raise
                length = 0  # the other pictures of a folder can be used all the same
                digest.update(b"unreadable")
            digest.update(f"/{length}/".encode())
            size += length
    except OSError:
        return "", size or 1
    return digest.hexdigest(), size


def _add(digest, file: Path) -> int:
    """Hash a file; returns its number of bytes."""
    with open(file, "rb") as handle:
        hashlib.file_digest(handle, lambda: digest)
        return handle.tell()


def entry_key(content: str, settings: dict) -> str:
    """The name of an entry."""
    text = json.dumps([FORMAT, content, settings], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class FrameCache:
    """Entries under ``folder``/frames."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)

    def frames_path(self, key: str) -> Path:
        return self.folder / "frames" / f"{key}.npy"

    def load(self, key: str) -> dict | None:
        """An entry's description, or None if there is none or its frames are not all there."""
        try:
            entry = json.loads((self.folder / "frames" / f"{key}.json").read_text(encoding="utf-8"))
            size = os.stat(self.frames_path(key)).st_size if entry["frames"] else _HEADER_BYTES
        except (OSError, ValueError, KeyError):
            return None
        return entry if size == _HEADER_BYTES + entry["frames"] * entry["height"] * entry["width"] * 3 else None

    def open(self, key: str) -> np.ndarray:
        """An entry's frames, uint8 (N, H, W, 3), mapped from the disk and read only."""
        return np.load(self.frames_path(key), mmap_mode="r")

    def write(self, key: str, frames, describe) -> dict:
        """Store frames, an iterator of uint8 (H, W, 3); ``describe(count)`` gives the rest of the entry once they are all out.

        Plain writes, not a mapped file: a full disk then is an OSError and not a signal.
        """
        count = 0
        with atomic_file(self.frames_path(key)) as temporary:
            with open(temporary, "wb") as file:
                file.write(bytes(_HEADER_BYTES))
                unwritten = 0
                for frame in frames:
                    unwritten += file.write(np.ascontiguousarray(frame).data)
                    count += 1
                    if unwritten > _SYNC_BYTES:  # a slow disk takes minutes for a whole film, in which nobody hears of us
                        os.fsync(file.fileno())
                        unwritten = 0
                entry = {"frames": count, **describe(count)}
                file.seek(0)
                np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False,
                                                            "shape": (count, entry["height"], entry["width"], 3)})
        write_json(self.folder / "frames" / f"{key}.json", entry)
        return entry

    def forget(self, key: str) -> None:
        """What is to be tried again the next time."""
        (self.folder / "frames" / f"{key}.json").unlink(missing_ok=True)

    def free_bytes(self) -> float:
        """What may still be written; infinity on a file system that does not tell."""
        usage = shutil.disk_usage(self.folder)
        return usage.free if usage.total else math.inf
