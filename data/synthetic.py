"""Synthetic videos with known factors: one coloured shape moving smoothly over a softly textured background.

A class is motion x shape. Every video is drawn from its factors alone, in units of the frame's shorter side, so the same seed shows
the same scenes at any size. They are written as real H.264 files and read back like anybody's videos.
"""

import hashlib
import json
import math
from pathlib import Path

import cv2
import numpy as np

from utils.errors import UserError
from utils.files import atomic_folder, write_json
from utils.progress import Progress
from utils.seeds import numpy_generator
from utils.video import write_video

MOTIONS = ("horizontal", "vertical", "circle", "bounce")
SHAPES = ("disc", "square", "triangle", "star")
COLOURS = {"red": (225, 40, 55), "orange": (250, 140, 20), "yellow": (250, 215, 50), "green": (40, 175, 85),
           "blue": (45, 120, 245), "magenta": (215, 55, 175)}
BACKGROUNDS = {"slate": ((62, 72, 90), (92, 104, 122)), "sand": ((176, 162, 138), (204, 192, 170)),
               "sage": ((104, 120, 102), (136, 152, 130)), "plum": ((84, 72, 92), (114, 100, 122)),
               "mist": ((160, 170, 176), (190, 198, 202)), "clay": ((130, 104, 92), (160, 134, 118))}
DEFAULTS = {"num_videos": 64, "frames": 48, "height": 64, "width": 64, "fps": 24, "seed": 0}
_FORMAT = 1  # raise it when the same factors come to be drawn differently
_MARGIN = 0.05


def make_synthetic(folder: str | Path, *, num_videos: int = 64, frames: int = 48, height: int = 64, width: int = 64, fps: float = 24,
                   seed: int = 0, quiet: bool = True) -> list[dict]:
    """Write ``num_videos`` files ``motion_shape/0000.mp4`` and ``factors.json`` under ``folder``; returns the factors.

    Classes take turns, so they are balanced. A video's factors depend on (seed, its number) alone.
    """
    folder, records = Path(folder), []
    settings = {"num_videos": num_videos, "frames": frames, "height": height, "width": width, "fps": fps, "seed": seed}
    with Progress(num_videos, "drawing synthetic videos", "videos", quiet=quiet) as progress:
        for number in range(num_videos):
            factors = draw_factors(seed, number)
            file = Path(factors["class"]) / f"{number:04d}.mp4"
            (folder / file.parent).mkdir(parents=True, exist_ok=True)
            write_video(folder / file, render(factors, frames, height, width, fps), fps, crf=12)
            start = positions(factors, np.zeros(1), height, width)[0]
            records.append({"file": file.as_posix(), **factors, "start": [round(float(value), 6) for value in start]})
            progress.update()
    write_json(folder / "factors.json", {**settings, "videos": records})
    return records


def draw_factors(seed: int, number: int) -> dict:
    """All that makes up video ``number``: class, colour, radius (of the shorter side), period (s), phase, turn, background."""
    draw = numpy_generator(seed, "synthetic", number)
    motion, shape = MOTIONS[number % len(MOTIONS)], SHAPES[number // len(MOTIONS) % len(SHAPES)]
    return {"class": f"{motion}_{shape}", "motion": motion, "shape": shape, "colour": str(draw.choice(list(COLOURS))),
            "radius": float(draw.uniform(0.15, 0.2)), "period": float(draw.uniform(1.6, 2.6)), "phase": float(draw.uniform(0, 2 * math.pi)),
            "turn": int(draw.choice([-1, 1])), "lane": float(draw.uniform(-1, 1)), "angle": float(draw.uniform(-0.3, 0.3)),
            "background": str(draw.choice(list(BACKGROUNDS))), "background_seed": int(draw.integers(2**31))}


def positions(factors: dict, seconds: np.ndarray, height: int, width: int) -> np.ndarray:
    """The shape's centre (x, y) in pixels at each time: float (N, 2)."""
    side, radius = min(height, width), factors["radius"]
    room_x, room_y = max(0.0, width / side / 2 - radius - _MARGIN), max(0.0, height / side / 2 - radius - _MARGIN)
    swing = factors["phase"] + factors["turn"] * 2 * math.pi * np.asarray(seconds, float) / factors["period"]
    still = np.zeros_like(swing)
    if factors["motion"] == "horizontal":
        x, y = room_x * np.cos(swing), still + 0.6 * room_y * factors["lane"]
    elif factors["motion"] == "vertical":
        x, y = still + 0.6 * room_x * factors["lane"], room_y * np.cos(swing)
    elif factors["motion"] == "circle":
        reach = min(room_x, room_y)
        x, y = reach * np.cos(swing) + (room_x - reach) * factors["lane"], reach * np.sin(swing) + (room_y - reach) * factors["lane"]
    else:  # bounce: a ball's parabolas on the floor, drifting sideways
        beat = swing / (2 * math.pi) * 1.5 % 1
        x, y = 0.7 * room_x * np.cos(swing / 2), room_y * (1 - 8 * beat * (1 - beat))
    return np.stack([width / 2 + side * x, height / 2 + side * y], axis=1)


def render(factors: dict, frames: int, height: int, width: int, fps: float):
    """Yields the video's frames, uint8 RGB (height, width, 3)."""
    side = min(height, width)
    ground = background(factors, height, width)
    colour = np.array(COLOURS[factors["colour"]], np.float32)
    seconds = np.arange(frames) / fps
    for (x, y), time in zip(positions(factors, seconds, height, width), seconds):
        # Pixel centres, in units of the shorter side, seen from the shape.
        right = ((np.arange(width, dtype=np.float32) + 0.5 - x) / side)[None, :]
        down = ((np.arange(height, dtype=np.float32) + 0.5 - y) / side)[:, None]
        angle = factors["angle"] + 0.5 * factors["turn"] * time
        radius, shape = factors["radius"], factors["shape"]
        shadow = np.clip(0.5 - distance(shape, right - 0.025, down - 0.04, radius, angle) / 0.06, 0, 1)
        cover = np.clip(0.5 - distance(shape, right, down, radius, angle) * side, 0, 1)[..., None]
        light = (1.04 - 0.22 * (down + 0.5 * right) / radius)[..., None]  # lit from the upper left
        frame = ground * (1 - 0.3 * shadow[..., None]) * (1 - cover) + np.clip(colour * light, 0, 255) * cover
        yield np.clip(frame + 0.5, 0, 255).astype(np.uint8)


def distance(shape: str, right: np.ndarray, down: np.ndarray, radius: float, angle: float) -> np.ndarray:
    """Signed distance to the shape's outline, negative inside; exact on the outline and inside, near it a good approximation."""
    if shape == "disc":
        return np.hypot(right, down) - radius
    x = math.cos(angle) * right + math.sin(angle) * down
    y = math.cos(angle) * down - math.sin(angle) * right
    if shape == "square":
        return np.maximum(np.abs(x), np.abs(y)) - 0.8 * radius
    if shape == "triangle":
        y = y - 0.15 * radius  # the middle of its box, not its centroid, rides on the path
        return np.maximum(y, np.maximum(0.866 * x - 0.5 * y, -0.866 * x - 0.5 * y)) - 0.52 * radius
    # star: fold the plane onto half a point, then the distance to the edge from its tip to the notch beside it
    fold = np.abs((np.arctan2(x, -y) + math.pi / 5) % (2 * math.pi / 5) - math.pi / 5)
    length = np.hypot(x, y)
    tip, notch = 1.12 * radius, 0.52 * radius
    edge_x, edge_y = notch * math.cos(math.pi / 5) - tip, notch * math.sin(math.pi / 5)
    return ((length * np.cos(fold) - tip) * edge_y - length * np.sin(fold) * edge_x) / math.hypot(edge_x, edge_y)


def background(factors: dict, height: int, width: int) -> np.ndarray:
    """Two muted tones mixed by smooth noise and a slant of light: float32 (height, width, 3)."""
    draw = np.random.default_rng(factors["background_seed"])
    side = min(height, width)
    mix = np.zeros((height, width), np.float32)
    for cells, weight in ((3, 0.55), (7, 0.3), (14, 0.15)):  # octaves of noise, in cells per shorter side
        rows, columns = math.ceil(cells * height / side) + 1, math.ceil(cells * width / side) + 1
        noise = draw.random((rows, columns), dtype=np.float32)
        mix += weight * cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    low, high = (np.array(tone, np.float32) for tone in BACKGROUNDS[factors["background"]])
    slant = np.linspace(1.06, 0.94, height, dtype=np.float32)[:, None, None]
    return (low + (high - low) * np.clip((mix - 0.5) * 2 + 0.5, 0, 1)[..., None]) * slant


def is_synthetic(data) -> bool:
    """Whether ``--data`` asks for these videos: ``synthetic`` or ``synthetic:num_videos=128,frames=32``."""
    return isinstance(data, str) and (data == "synthetic" or data.startswith("synthetic:"))


def synthetic_folder(spec: str, cache: Path, height: int, width: int, quiet: bool = False) -> Path:
    """The folder of the videos that ``spec`` asks for, written on first use; by default at the size they will be trained at."""
    settings = {**DEFAULTS, "height": max(16, height + height % 2), "width": max(16, width + width % 2), **_options(spec)}
    name = hashlib.blake2b(json.dumps([_FORMAT, settings], sort_keys=True).encode(), digest_size=6).hexdigest()
    folder = cache / "synthetic" / f"{settings['width']}x{settings['height']}-{name}"
    if not (folder / "factors.json").is_file():
        try:
            with atomic_folder(folder) as temporary:
                make_synthetic(temporary, quiet=quiet, **settings)
        except OSError:
            if not (folder / "factors.json").is_file():
                raise
            # else another process finished the same folder first
    return folder


def _options(spec: str) -> dict:
    options = {}
    for item in filter(None, spec.partition(":")[2].split(",")):
        name, _, value = item.partition("=")
        try:
            options[name] = int(value)
        except ValueError:
            options[name] = -1
        if name not in DEFAULTS or options[name] < (name != "seed"):
            example = ",".join(f"{key}={default}" for key, default in DEFAULTS.items())
            raise UserError(f"--data {spec}: {item!r} is not understood; write for example synthetic:{example}")
    return options
