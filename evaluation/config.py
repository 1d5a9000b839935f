"""What evaluate.py can be asked, and what it refuses."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from math import inf
from typing import Literal

from metrics.protocols import named_protocol
from utils.errors import UserError, need


@dataclass
class EvaluateConfig:
    """What to measure: `checkpoint`, or `real` and `fake`. Or `compare` earlier results, or try the `controls`."""

    checkpoint: str | None = None
    """Run directory or checkpoint of the model to measure."""
    data: str | None = None
    """Real videos to measure it against; those it was trained on if not given."""
    real: str | None = None
    """Folder (or file) of real videos or images, the reference."""
    fake: str | None = None
    """Folder (or file) of generated ones. For psnr, ssim, ms_ssim and lpips files pair by name."""
    compare: str | None = None
    """Two or more metrics.json of earlier reports, comma-separated: one table, refused where protocols differ."""
    controls: bool = False
    """Damage real clips on purpose (`--real`) and show which metric sees which damage."""
    metrics: str | None = None
    """Comma-separated names, swd if none is given; a feature network may follow with an underscore, as in fid_random or fvd_r3d_18.
    `--metrics help` lists them."""
    protocol: str | None = None
    """A metric with everything that its value depends on, by name: fid10k, kid_random_1k, fvd2048_16f, is_c3d_10k ..."""
    weights: str | None = None
    """Weights of feature networks, comma-separated, as inception=PATH,i3d=URL#sha256; `own=RUN` takes a discriminator's features."""
    output: str = "report"
    """Folder for metrics.json, metrics.md, metrics.tex, report.html and pictures."""
    num_samples: int | None = None
    """Clips on each side, 1024 if not given; fewer if there are fewer real ones. A model of single frames makes clips of one frame."""
    seed: int = 0
    """Chooses latents, clips, patches and directions."""
    draws: int = 1
    """Measure as many times, with other latents and clips each time, and give mean and standard deviation."""
    resamples: int = 50
    """Bootstrap resamples of the clips for 95% intervals: 2 or more, or 0 for none."""
    floor: bool = True
    """Compare reals with other reals too, which is the best a model can hope for."""
    batch_size: int = 16
    """Clips generated at a time, or frames compared at a time."""
    frames_per_clip: int = 1
    """Frames that metrics of single frames look at in each clip; neighbours are much alike, so more clips say more than more frames."""
    clip_frames: int | None = None
    """Frames per clip; if not given a model's own, or the fewest that the metrics need, and 16 for networks of clips."""
    one_per_video: bool = False
    """Draw at most one clip of each video."""
    max_frames_kept: int = 4096
    """swd keeps patches of this many frames at most, a random choice: 75 kB per frame and pyramid level."""
    max_features_kept: int = 10_000
    """Clips whose features are kept, a random choice, for kid, precision, recall and intervals; fid and fvd count all."""
    network_resize: Literal["tf1", "pytorch", "clean"] = "tf1"
    """How inception's frames come to 299x299: as in torch-fidelity, in pytorch-fid, or in clean-fid."""
    shortest: bool = False
    """Compare paired videos of unequal length as far as the shorter one goes."""
    height: int | None = None
    """Bring --real and --fake to this size; for metrics of sets the size of the first real video if not given."""
    width: int | None = None
    """See `height`."""
    frame_skip: int | None = None
    """Keep every k-th frame; the model's own setting if not given."""
    fps: float | None = None
    """Keep frames at this rate, instead of `frame_skip`."""
    fit: Literal["crop", "pad", "stretch"] | None = None
    """How a video of another shape fills the frame; the model's own setting, or crop."""
    split: Literal["train", "test", "all"] | None = None
    """Part of a data set with official split lists; the model's own setting, or all."""
    cache_dir: str | None = None
    """Where extracted frames and features of real clips are kept."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where the model and feature networks run."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the model."""
    network_precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of feature networks; i3d, script and random, and all else, stay in float32 or better."""
    threads: int | None = None
    """CPU threads; PyTorch's choice, mostly all cores, if not given."""

    def check(self) -> "EvaluateConfig":
        """Cross-checks; raises UserError naming the flag. Returns itself, with what `protocol` fixes filled in."""
        if self.protocol:
            self._apply_protocol()
        self.metrics, self.num_samples = self.metrics or "swd", 1024 if self.num_samples is None else self.num_samples
        counts = given(self, "num_samples", "draws", "batch_size", "frames_per_clip", "clip_frames", "max_frames_kept",
                       "max_features_kept", "height", "width", "frame_skip", "threads")
        for name, value in counts.items():
            need(name, value, value >= 1, "at least 1")
        need("resamples", self.resamples, self.resamples >= 0 and self.resamples != 1, "0, for no intervals, or at least 2")
        need("fps", self.fps, self.fps is None or 0 < self.fps < inf, "above 0, and finite")
        need("seed", self.seed, 0 <= self.seed < 2**63, "at least 0 and below 2^63")
        if self.fps is not None and self.frame_skip is not None:
            raise UserError("--frame_skip and --fps exclude each other: give one of them")
        if (self.height is None) != (self.width is None):
            raise UserError("--height and --width belong together: give both or neither")
        self._check_sides()
        return self

    def _check_sides(self) -> None:
        if self.compare is not None or self.metrics == "help":
            return
        if self.clip_frames is not None and self.clip_frames < self.frames_per_clip:
            raise UserError(f"--frames_per_clip {self.frames_per_clip}: clips have --clip_frames {self.clip_frames}; "
                            "ask for no more of them")
        if self.controls:
            for name, usual in (("draws", 1), ("one_per_video", False), ("data", None)):
                if (own := getattr(self, name)) != usual and not (self.protocol and name == "one_per_video"):
                    raise UserError(f"--{name} {own}: --controls has no use for it; leave it out")
            if self.real is None or self.fake is not None or self.checkpoint is not None:
                raise UserError("--controls damages clips of --real; leave --fake and --checkpoint out")
            return
        if self.checkpoint is None and (self.real is None or self.fake is None):
            raise UserError("nothing to measure: give --checkpoint for a model, or --real and --fake for two folders")
        if self.checkpoint is not None and (self.real is not None or self.fake is not None):
            raise UserError("--checkpoint measures a model, --real and --fake compare two folders: give one or the other")
        if self.checkpoint is not None and (own := given(self, "height", "width")):
            raise UserError(f"--{next(iter(own))}: a model has its own; leave it out")
        if self.checkpoint is None and self.data is not None:
            raise UserError("--data goes with --checkpoint; for two folders give --real and --fake")

    def _apply_protocol(self) -> None:
        if self.fps is not None:
            raise UserError(f"--fps {self.fps:g}: --protocol {self.protocol} fixes --frame_skip instead; leave one of the two out")
        defaults = {item.name: item.default for item in fields(self)}
        for name, value in named_protocol(self.protocol).items():
            own = getattr(self, name)
            if own != defaults[name] and own != value:
                raise UserError(f"--{name} {own}: --protocol {self.protocol} fixes it at {value}; leave one of the two out")
            setattr(self, name, value)


def given(config: EvaluateConfig, *names: str) -> dict:
    """Those of the settings that are not None."""
    return {name: getattr(config, name) for name in names if getattr(config, name) is not None}


def once(config: EvaluateConfig, names: Iterable[str]) -> list[str]:
    """A remark on metrics of pairs where settings were given that only metrics of sets use."""
    if config.draws == 1 and not config.one_per_video:
        return []
    return [f"{', '.join(names)}: measured once; --draws and --one_per_video are for metrics of sets"]
