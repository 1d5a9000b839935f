"""Small video files for the tests, made with PyAV."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def write_film(path: Path, frames, rate=25, codec: str = "libx264", seconds=None, options=None, faststart: bool = False,
               pixel_aspect: Fraction | None = None) -> Path:
    """Encode uint8 RGB frames; ``seconds`` sets each frame's time stamp instead of a constant rate."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options={"movflags": "+faststart"} if faststart else {}) as container:
        stream = container.add_stream(codec, rate=rate,
                                      options={"crf": "4", "preset": "ultrafast", "bf": "0"} if options is None else options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "bgr0" if codec == "ffv1" else "yuv420p"
        if pixel_aspect:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        clock = Fraction(1, 1000) if seconds is not None else Fraction(1) / Fraction(rate)
        stream.codec_context.time_base = clock
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = (round(seconds[index] * 1000) if seconds is not None else index), clock
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def numbered(count: int, height: int = 48, width: int = 64, step: int = 3) -> list[np.ndarray]:
    """Flat grey frames whose level tells their number: 16 + step * index."""
    return [np.full((height, width, 3), 16 + step * index, np.uint8) for index in range(count)]


def numbers(video, step: int = 3) -> list[int]:
    """The numbers of frames made by :func:`numbered`, from pixels (T, H, W, 3)."""
    return [round((float(np.asarray(frame)[8:-8, 8:-8].mean()) - 16) / step) for frame in video]


def texture(seed: int, height: int = 96, width: int = 128) -> np.ndarray:
    """A smooth random picture, uint8 (height, width, 3)."""
    import cv2

    small = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def moving(count: int, seed: int = 0, height: int = 48, width: int = 64, speed: int = 2) -> list[np.ndarray]:
    """A window that glides over a texture."""
    big = texture(seed, height + 16, width + speed * count)
    return [big[8:8 + height, speed * index:speed * index + width] for index in range(count)]


def rotate_tag(path: Path, turn: tuple[int, int, int, int] = (0, 1, -1, 0)) -> Path:
    """Set the display matrix of an .mp4 (ISO 14496-12, 'tkhd', 16.16 fixed point), if not said otherwise to a quarter turn clockwise."""
    data = bytearray(path.read_bytes())
    place = data.find(b"tkhd") + 4 + 4 + 4 * 5 + 8 + 8  # version+flags, times/ids/duration, reserved, layer..volume
    a, b, c, d = ((number << 16) & 0xFFFFFFFF for number in turn)
    matrix = (a, b, 0, c, d, 0, 0, 0, 1 << 30)
    data[place:place + 36] = b"".join(value.to_bytes(4, "big") for value in matrix)
    path.write_bytes(data)
    return path
