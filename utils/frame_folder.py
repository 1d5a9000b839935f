"""A film as a folder of numbered PNGs; a single frame is one PNG."""

import os
import shutil
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np

from utils.errors import UserError
from utils.files import fsync_path, temporary_beside
from utils.images import encode_png

_HOLDS_OTHERS = "cannot write frames to {}: it is a link or holds other things than frames written by this program; choose another path"
_TEXT = b"tEXtSoftware\0VidGAN"
_MARK = struct.pack(">I", len(_TEXT) - 4) + _TEXT + struct.pack(">I", zlib.crc32(_TEXT))
_HEADER = 33  # bytes of a PNG's signature and first chunk, after which the mark stands


class FrameFolder:
    """A sink of :class:`utils.video.VideoWriter`: ``path`` if there is one frame, else the folder ``path`` without its ending."""

    def __init__(self, path: Path):
        self._path, self._folder = path, path.with_suffix("")
        self._temporary = temporary_beside(self._folder)
        self._temporary.mkdir()
        self._count = 0

    def write(self, frame: np.ndarray, index: int) -> None:
        if index == 1 and not _is_replaceable(self._folder):
            raise UserError(_HOLDS_OTHERS.format(self._folder))
        png = encode_png(frame)
        (self._temporary / f"{index:06d}.png").write_bytes(png[:_HEADER] + _MARK + png[_HEADER:])
        self._count += 1

    def close(self) -> Path:
        if self._count == 1:
            only = self._temporary / "000000.png"
            fsync_path(only)
            os.replace(only, self._path)
            self._temporary.rmdir()
            return self._path
        for file in self._temporary.iterdir():
            fsync_path(file)
        if not _is_replaceable(self._folder):  # looked at hours ago, when the second frame came
            raise UserError(_HOLDS_OTHERS.format(self._folder))
        aside = temporary_beside(self._folder)
        if self._folder.exists():
            os.rename(self._folder, aside)
        try:
            os.rename(self._temporary, self._folder)
        except BaseException:
            with suppress(FileNotFoundError):
                os.rename(aside, self._folder)
            raise
        fsync_path(self._folder.parent)
        shutil.rmtree(aside, ignore_errors=True)
        return self._folder

    def discard(self) -> None:
        shutil.rmtree(self._temporary, ignore_errors=True)


def _is_replaceable(folder: Path) -> bool:
    """Nothing there, or a folder that holds nothing but frames that were written here: data sets number theirs from 0 too."""
    if folder.is_symlink() or not folder.is_dir():
        return not folder.is_symlink() and not folder.exists()
    names = {file.name for file in folder.iterdir()}
    return names == {f"{index:06d}.png" for index in range(len(names))} and all(_is_ours(folder / name) for name in names)


def _is_ours(png: Path) -> bool:
    if not png.is_file():
        return False
    with png.open("rb") as file:
        return file.read(_HEADER + len(_MARK))[_HEADER:] == _MARK
