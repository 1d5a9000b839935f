"""The settings of generate.py: which film to make, and which flags go together."""

import re
from dataclasses import dataclass, fields
from math import isqrt
from pathlib import Path
from typing import Literal, get_args

from utils.errors import UserError, need
from utils.latent_paths import PathKind
from utils.video import check_target

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "fp32", "bf16"]

# By the flag that chooses how a film is made: why some others can have no effect then, and which.
_WITHOUT_EFFECT = {
    "input": ("a film is remade as it is, in one way only",
              ("num_frames", "seed", "path", "interpolate", "label", "keyframe_seconds", "grid", "num_videos", "truncation", "best_of",
               "image", "streams")),
    "image": ("an image has one predicted future",
              ("seed", "path", "interpolate", "label", "keyframe_seconds", "grid", "num_videos", "truncation", "best_of")),
    "interpolate": ("the film leads along one arc from seed A to seed B", ("seed", "path", "keyframe_seconds")),
}


@dataclass
class GenerateConfig:
    """Which film to make. The same settings give the same film, byte for byte."""

    checkpoint: str = "runs/default"
    """Run directory, or one of its checkpoints/step_* folders."""
    output: str = "output.mp4"
    """The film: .mp4 or .avi (H.264), .gif, or .png (one frame: that file; more: a folder named without .png)."""
    num_frames: int = 300
    """Length of each film in frames."""
    fps: float | None = None
    """Frames per second; the rate of the training frames if not given, with `input` the film's own, times `factor`."""
    seed: int = 0
    """Another seed, another film."""
    path: PathKind = "slerp"
    """Way through latent space: slerp, arcs between random points; walk, smooth and random; loop, the same, ending where it began."""
    interpolate: str | None = None
    """Seeds A:B: one arc from the first latent of the film with --seed A to that with --seed B, instead of `path` and `seed`. A generator
    of clips plays its clip forwards and backwards meanwhile, each frame from the latent of its own moment. In a YAML file with quotes,
    which takes 7:9 for a time otherwise."""
    label: str | None = None
    """Class to show, of a family that knows classes; without it, cells of the grid (and films) take turns through the classes."""
    keyframe_seconds: float = 2.0
    """Seconds from one random point of `path` to the next: shorter moves faster."""
    grid: str = "1x1"
    """ROWSxCOLUMNS of different samples in one film; or classes: a cell for each class."""
    num_videos: int = 1
    """Several films: city.mp4 becomes city_000.mp4, city_001.mp4 ...; the first is what a single film would be."""
    truncation: float = 1.0
    """Scales the latents: below 1 gives more typical, less varied samples."""
    best_of: int = 1
    """Rejection sampling: of this many random points for each one of the path take the one of which the critic is surest that it shows
    its class: fewer clips of the wrong class, and less variety. For a family whose critic names classes."""
    image: str | None = None
    """What the film begins with, of any size, for a model that predicts; a longer film goes on from its own last frame."""
    streams: bool = False
    """Show background, foreground, mask and film side by side, for a model made of streams or sprites."""
    crf: int = 18
    """Quality of H.264, from 0 (nothing lost but half of the colours' resolution) to 51 (worst). A .png loses nothing."""
    batch_size: int = 16
    """Samples computed at a time."""
    device: Device = "auto"
    """auto takes CUDA, then MPS, then the CPU."""
    precision: Precision = "auto"
    """Arithmetic: fp32, or bf16, which is mixed precision; auto: bf16 where the hardware is faster in it."""
    input: str | None = None
    """A film to remake, for a model of the family keyframes: with `factor` or `keyframe_interval`."""
    factor: int | None = None
    """Make this many times as many frames of `input`, at as many times its frame rate (it lasts as long) unless `fps` is given."""
    keyframe_interval: int | None = None
    """Keep every N-th frame of `input` as the autoencoder's code and interpolate the others; what was lost is measured, before H.264 loses
    a little more."""

    def check(self) -> "GenerateConfig":
        """Raises UserError naming the flag. Returns itself."""
        for item in fields(self):  # here too, as programs call generate_video
            need(item.name, getattr(self, item.name), getattr(self, item.name) != "", "something")
        for name in ("num_frames", "num_videos", "batch_size", "best_of"):
            value = getattr(self, name)
            need(name, value, _is_whole(value) and value >= 1, "a whole number, at least 1")
        need("seed", self.seed, _is_whole(self.seed) and 0 <= self.seed < 2**63, "a whole number from 0 to 2^63 - 1")
        for name in ("keyframe_seconds", "truncation"):
            value = getattr(self, name)
            need(name, value, isinstance(value, (int, float)) and 0 < value < float("inf"), "a number above 0")
        for name, kind in (("path", PathKind), ("device", Device), ("precision", Precision)):
            value, accepted = getattr(self, name), get_args(kind)
            need(name, value, value in accepted, f"one of {', '.join(accepted)}")
        self.rows_columns()
        if self.grid == "classes" and self.label is not None:
            raise UserError(f"--label {self.label}: --grid classes shows every class; leave one of them out")
        self.seeds()
        for name, least in (("factor", 2), ("keyframe_interval", 1)):
            value = getattr(self, name)
            need(name, value, value is None or _is_whole(value) and value >= least, f"a whole number, at least {least}")
        asked = (self.factor is not None) + (self.keyframe_interval is not None)
        if asked != (self.input is not None):
            raise UserError("--input goes with one of --factor, for more frames, and --keyframe_interval, to keep fewer")
        self._check_effects()
        check_target(self.output, 24 if self.fps is None else self.fps, self.crf)
        return self

    def _check_effects(self) -> None:
        """Nothing is asked for in vain. Where and how fast it is computed may be told of every film."""
        defaults = {item.name: item.default for item in fields(self)}
        if self.crf != defaults["crf"] and Path(self.output).suffix.lower() in (".gif", ".png"):
            raise UserError(f"--crf {self.crf}: is for .mp4 and .avi; for {self.output} it has no effect, leave it out")
        for chosen, (why, names) in _WITHOUT_EFFECT.items():
            for name in names if getattr(self, chosen) is not None else ():
                value = getattr(self, name)
                if value != defaults[name]:
                    given = "" if value is True else f" {value}"
                    raise UserError(f"--{name}{given}: {why}; with --{chosen} it has no effect, leave it out")

    def rows_columns(self, classes: int = 1) -> tuple[int, int]:
        """``grid`` as numbers; of ``classes`` cells at least, nearly as many rows as columns, if it is to show every class."""
        if self.grid == "classes":
            columns = isqrt(classes - 1) + 1
            return -(-classes // columns), columns
        match = re.fullmatch(r"([1-9]\d{0,2})x([1-9]\d{0,2})", str(self.grid))
        need("grid", self.grid, match is not None, "ROWSxCOLUMNS, for one 3x4, or classes")
        return int(match[1]), int(match[2])

    def seeds(self) -> list[int]:
        """``interpolate`` as numbers; the film's own seed if it is not given."""
        if self.interpolate is None:
            return [self.seed]
        match = re.fullmatch(r"(\d+):(\d+)", str(self.interpolate))
        need("interpolate", self.interpolate, match is not None and max(map(int, match.groups())) < 2**63, "two seeds A:B, for one 3:14")
        return [int(match[1]), int(match[2])]

    def targets(self) -> list[Path]:
        """The path of each film."""
        output = Path(self.output)
        if self.num_videos == 1:
            return [output]
        return [output.with_name(f"{output.stem}_{video:03d}{output.suffix}") for video in range(self.num_videos)]


def _is_whole(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
