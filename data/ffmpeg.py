"""Films opened by FFmpeg, through PyAV or OpenCV, whatever they are called."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import cv2


def open_container(path: str | Path):
    """By PyAV. Only plain files: a playlist in disguise must not make us fetch anything. Raises what ``av.open`` does."""
    return av.open(_address(path), options={"protocol_whitelist": "file"})


def open_capture(path: str | Path, threads: int = 1) -> cv2.VideoCapture:
    """By OpenCV, decoding on so many threads."""
    with _readable_name(path) as name:
        return cv2.VideoCapture(name, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, threads])


def _address(path: str | Path) -> str:
    # Of "12:30.mp4", FFmpeg takes what stands before the colon for a protocol.
    return os.path.abspath(path)


@contextmanager
def _readable_name(path: str | Path) -> Iterator[str]:
    """A name in UTF-8: OpenCV ends the process on any other."""
    name = _address(path)
    try:
        name.encode()
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory() as folder:
            link = os.path.join(folder, "film")
            os.symlink(name, link)
            yield link
    else:
        yield name
