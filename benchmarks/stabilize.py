"""What ``--stabilize`` does to shaky films.

    python -m benchmarks.stabilize [FILM ...]      # writes benchmarks/results/stabilize.{json,png}

A film is made here: a disc moves over a detailed background, seen by a camera that shakes as a hand does (shifts, turns and zooms that
fade and are pushed anew). So it is known what a camera that stands still would have seen, and frames are held to that. Films of one's
own have no such truth; for them, and for ours beside it, the PSNR of each frame to the one before is given (interframe transformation
fidelity, Morimoto & Chellappa 1998, "Evaluation of image stabilization algorithms"), without the pairs across a break.
"""

import argparse
import json
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from benchmarks.machine import describe
from data.decode import read_frames
from data.stabilize import STRETCH, stabilized
from utils.files import write_json
from utils.images import save_png

HEIGHT, WIDTH, MARGIN = 180, 320, 40


def standing(count: int) -> list[np.ndarray]:
    """A disc on its way over a background with detail at several scales, uint8 RGB, with ``MARGIN`` pixels around the frame."""
    draw, shape = np.random.default_rng(0), (WIDTH + 2 * MARGIN, HEIGHT + 2 * MARGIN)
    layers = [cv2.resize(draw.integers(0, 256, (shape[1] // cell, shape[0] // cell, 3), dtype=np.uint8), shape,
                         interpolation=cv2.INTER_CUBIC) for cell in (40, 12, 4)]
    ground = np.clip(sum(share * layer.astype(np.float32) for share, layer in zip((0.5, 0.3, 0.2), layers)), 0, 255).astype(np.uint8)
    places = [(int(MARGIN + 30 + 4 * time), int(shape[1] / 2 + 40 * np.sin(time / 8))) for time in range(count)]
    return [cv2.circle(ground.copy(), place, 18, (250, 215, 50), -1, cv2.LINE_AA) for place in places]


def cropped(frame: np.ndarray) -> np.ndarray:
    return frame[MARGIN:MARGIN + HEIGHT, MARGIN:MARGIN + WIDTH]


def shaken(frames: list[np.ndarray], strength: float = 3.0) -> list[np.ndarray]:
    """The same seen by a hand-held camera; the first frame as it is."""
    draw, camera, seen = np.random.default_rng(1), np.zeros(4), []
    for frame in frames:
        x, y, angle, zoom = camera
        height, width = frame.shape[:2]
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1 + zoom)
        matrix[:, 2] += x, y
        seen.append(cropped(cv2.warpAffine(frame, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)))
        camera = 0.85 * camera + draw.normal(0, strength, 4) * (1, 1, 0.1, 0.002)
    return seen


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(1e-9, np.square(one.astype(np.float32) - other).mean())))


def steady(frames: list[np.ndarray]) -> tuple[list[np.ndarray], list[bool]]:
    """The frames stabilised, and for each whether a new stretch begins with it."""
    made = list(stabilized((np.ascontiguousarray(frame[..., ::-1]), 1, False) for frame in frames))
    return [frame[..., ::-1] for frame, _, _ in made], [broken for _, _, broken in made]


def fidelity(frames: list[np.ndarray], breaks: list[bool]) -> float:
    """Mean PSNR of each frame to the one before it, dB."""
    return float(np.mean([min(99.0, psnr(*pair)) for pair, broken in zip(zip(frames, frames[1:]), breaks[1:]) if not broken]))


def measure(frames: list[np.ndarray]) -> dict:
    made, breaks = steady(frames)
    return {"frames": len(frames), "size": frames[0].shape[:2], "stretches": 1 + sum(breaks),
            "to_the_frame_before_db": {"plain": fidelity(frames, breaks), "stabilized": fidelity(made, breaks)}}


def picture(rows: list[list[np.ndarray]]) -> np.ndarray:
    """Each row four frames of a film and the mean of all its frames, which is sharp where nothing moves."""
    chosen = lambda film: [*(film[round(place * (len(film) - 1))] for place in (0, 1 / 3, 2 / 3, 1)), np.mean(film, 0).astype(np.uint8)]
    return np.concatenate([np.concatenate(chosen(film), 1) for film in rows])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("films", nargs="*", help="films of your own")
    options.add_argument("--frames", type=int, default=STRETCH, help="at most so many of each, from the beginning")
    options.add_argument("--output", default="benchmarks/results/stabilize.json")
    given = options.parse_args()
    truth = standing(given.frames)
    shaky, still = shaken(truth), [cropped(frame) for frame in truth]
    made, _ = steady(shaky)
    against = lambda film: float(np.mean([psnr(*pair) for pair in list(zip(film, still))[1:]]))
    result = {"command": "python -m benchmarks.stabilize " + " ".join(Path(film).name for film in given.films), "machine": describe(),
              "known shake": {"to_a_standing_camera_db": {"plain": against(shaky), "stabilized": against(made)}, **measure(shaky)},
              **{Path(film).name: measure(list(islice(read_frames(film), given.frames))) for film in given.films}}
    write_json(Path(given.output), result)
    save_png(Path(given.output).with_suffix(".png"), picture([shaky, made]))
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
