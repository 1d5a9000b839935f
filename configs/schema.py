"""Every setting of a training run: one flat dataclass, whose field names are the flags, and a ``model`` group by family."""

from dataclasses import asdict, dataclass, fields
from math import inf
from typing import Any, ClassVar, Literal

from utils.errors import UserError, need

# Settings that may change when a run is continued: none of them touches what the weights become. (Of files their contents do, which
# checkpoints know.)
FREE_TO_CHANGE = {"steps", "epochs", "out", "restart", "dry_run", "data", "workers", "storage", "cache_dir", "scan", "max_broken",
                  "device", "threads", "log_every", "sample_every", "checkpoint_every", "keep", "samples", "tensorboard", "on_alarm",
                  "max_rollbacks", "alarm_patience", "alarm_after", "eval_every", "metrics", "eval_samples", "best", "eval_threads",
                  "eval_flags", "model.vgg_weights"}


@dataclass
class TrainConfig:
    """A training run. Sizes in pixels, rates in frames per second, counts in steps unless a field says otherwise."""

    RIVALS: ClassVar = (("steps", "epochs"), ("frame_skip", "fps", "max_frames"))
    VERBATIM: ClassVar = ("eval_flags",)
    MAY_BE_EMPTY: ClassVar = ("augment", "eval_flags")

    family: str = "dcgan"
    """Family of networks: dcgan, mlp_gan (frames), vgan, vgan_conditional, hrvgan (clips) or keyframes (interpolation)."""
    out: str = "runs/default"
    """Run directory: checkpoints, samples, curves, report. The same command continues the run it finds there."""
    restart: bool = False
    """Begin again although `out` holds another run, which is moved aside to `out.1`, not deleted."""
    dry_run: bool = False
    """Print the resolved config, parameters, a memory estimate and how long measured steps took, at full size; write nothing into --out."""

    data: str = "synthetic"
    """Folder of videos (searched recursively), one video, class folders, UCF-101, frame images, JPEGs of stacked frames, or `synthetic`."""
    height: int = 64
    """Frame height in pixels; most families need a multiple of 2 to the power of their depth, and name the nearest."""
    width: int = 64
    """Frame width in pixels."""
    frames: int = 1
    """Frames per clip; 1 trains a generator of single frames."""
    frame_skip: int = 1
    """Keep every k-th frame of the source."""
    fps: float | None = None
    """Keep frames at this rate, by their time stamps, instead of `frame_skip`."""
    max_frames: int | None = None
    """Choose the frame skip that lands nearest this many frames in all, instead of `frame_skip`."""
    fit: Literal["crop", "pad", "stretch"] = "crop"
    """How a video of another shape fills the frame: centre crop, black bars, or distortion."""
    split: Literal["train", "test", "all"] = "train"
    """Which part of a data set with official split lists (UCF-101)."""
    split_list: int = 1
    """Which of the official lists; UCF-101 has 1 to 3."""
    image_fps: float = 25.0
    """Frame rate of folders of images and of stacked JPEGs, which store none."""
    stabilize: bool = False
    """Take the camera's motion out of the videos, by matching each frame with the one before, over stretches of at most 64 frames."""
    flip: bool = False
    """Mirror each clip left to right with a chance of one half."""
    ordered: bool = False
    """The videos cut into consecutive clips without overlap, in order, instead of all clips shuffled."""
    m_per_class: int = 1
    """Draw this many clips of one class next to each other: minibatch standard deviation (groups of up to 4) then compares clips within a
    class, not across classes."""
    storage: Literal["auto", "disk", "memory", "device"] = "auto"
    """Where frames are kept while training: in files, in memory, on the device; auto: the fastest that they fit."""
    cache_dir: str | None = None
    """Where extracted frames are kept; $VIDGAN_CACHE or ~/.cache/vidgan if not given."""
    workers: int | None = None
    """Processes that decode (as many as there are cores if not given) and threads that load (1 if not given)."""
    scan: Literal["full", "quick"] = "full"
    """Health check of the videos: decode every frame, or trust the containers."""
    max_broken: float = 0.5
    """Stop before training if more than this share of the videos is unusable."""

    steps: int | None = None
    """Training steps in all; 2000 if neither this nor `epochs` is given."""
    epochs: int | None = None
    """Passes over all clips, one from every frame on that leaves room for it, instead of `steps`."""
    batch_size: int = 64
    """Clips per step over all processes."""
    accumulate: int = 1
    """Gradient accumulation: take each batch in this many equal parts, to save memory."""
    lr: float = 2e-4
    """Learning rate of every network; of the discriminator only where `lr_d` is not given."""
    lr_d: float | None = None
    """Learning rate of the discriminator, where it differs."""
    warmup: int = 500
    """Steps over which the learning rates rise from zero; without, Adam's first steps are as long as any and amplify rounding."""
    lr_decay: Literal["none", "sqrt", "cosine"] = "none"
    """How the learning rates fall: not at all, with one over the square root of the step from `lr_decay_from` on
    (Karras et al. 2024, arXiv 2312.02696), or to zero along half a cosine over the whole run, whose length is then settled."""
    lr_decay_from: int = 2000
    """Step from which `--lr_decay sqrt` applies."""
    beta1: float = 0.5
    """Decay of Adam's first moment; RMSprop has none."""
    beta2: float = 0.999
    """Decay of Adam's second moment, or of RMSprop's mean square."""
    optimizer: Literal["adam", "adam_lean", "rmsprop"] = "adam"
    """Optimiser of every network; adam_lean needs a quarter to a half of the memory, for networks of large linear layers."""
    loss: Literal["bce", "hinge", "rpgan", "wgan", "wgan_gp"] = "bce"
    """Adversarial loss: non-saturating cross-entropy, hinge, relativistic pairing, Wasserstein without or with gradient penalty."""
    gp: float = 10.0
    """Weight lambda of wgan_gp's gradient penalty."""
    clip_weights: float | None = None
    """Weight clipping: keep the discriminator's weights within +- this, as the first Wasserstein GAN did."""
    spectral_norm: bool = False
    """Divide every weight matrix of the discriminator by its largest singular value (Miyato et al. 2018, arXiv 1802.05957); goes with
    any `model.d_norm`."""
    d_repeats: int = 1
    """Discriminator steps per step, each on a fresh batch."""
    g_every: int = 1
    """Generator step at every N-th step."""
    compile_penalty: bool = False
    """Compile r1, r2 and gp's gradients; checked against the plain ones at the start, which take over where they differ."""
    grow_from: int = 0
    """Progressive growing: start this many halvings below the full height and width."""
    grow_steps: int = 2000
    """Steps from one doubling of the size to the next."""
    grow_fade: float = 0.5
    """Share of `grow_steps` over which new layers fade in, from 0 to 1."""
    share_fakes: bool = True
    """Update the generator first and let the discriminator train on the very same clips: one generator pass a step less."""
    r1: float = 0.0
    """Weight gamma of the zero-centred gradient penalty on real clips, gamma/2 E|grad|^2: the slope at what the discriminator sees, which
    with `augment` is the augmented clip."""
    r2: float = 0.0
    """Weight of the penalty `r1` on generated clips."""
    penalty_every: int = 1
    """Apply r1 and r2 at every N-th step, N times as strong."""
    pixel_mse: float = 0.0
    """Weight of the mean squared error of generated clips against the real ones of the batch."""
    first_frame_l1: float = 0.0
    """Weight of the mean absolute difference of the first generated frame to the one it was made from."""
    random_frame: bool = False
    """Let clips be made from, and `first_frame_l1` hold at, a frame drawn at random from each real clip instead of its first."""
    wrong_labels: float = 0.0
    """Share of real clips with a wrong label among what the discriminator learns to reject, from 0 to 1
    (Reed et al. 2016, arXiv 1605.05396)."""
    class_ce: float = 0.0
    """Weight of the cross-entropy of the class: the discriminator tells that of real clips, the generator makes clips that it tells right
    (Odena et al. 2017, arXiv 1610.09585). Told from clips as they are, whatever `augment` does to those that verdicts are of."""
    class_ce_d: float | None = None
    """`class_ce` of the discriminator, where it differs; a larger one lets it learn classes before the generator can please it."""
    class_ce_steps: int | None = None
    """Steps for which `class_ce` trains the generator; all if not given. In time it learns what the discriminator takes for a class,
    not the class."""
    class_ce_then: float = 0.0
    """`class_ce` of the generator after `class_ce_steps`; a larger one asks for more once the discriminator knows the classes."""
    diversity: float = 0.0
    """Weight of a penalty on generated clips of one class, from different latents, that lie closer together than real ones: by what share
    (after Yang et al. 2019, arXiv 1901.09024)."""
    mask_l1: float = 0.0
    """Weight of the mean of the foreground mask."""
    augment: str = ""
    """DiffAugment policy, some of color,translation,cutout; one draw per clip."""
    augment_p: float = 1.0
    """Share of clips that is augmented."""
    augment_warmup: int = 0
    """Steps over which that share rises from zero (as in Huang et al. 2024, arXiv 2501.05441): a discriminator that does not know the
    clips yet learns sooner without."""
    ema: float = 0.999
    """Decay of the exponential moving average of the weights that samples are made with; 0: no average. It is reached by way of
    step / (step + 9): until then the average is of about the last ninth of the run."""
    clip_grad: float | None = None
    """Clip the gradient norm of each network to this; on steps with a penalty (`penalty_every`) its gradient counts too."""
    seed: int = 0
    """Everything random follows from it."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic: fp32, or bf16, which is mixed precision (matrix products in bfloat16); auto: bf16 where the hardware is faster in it."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """auto takes CUDA, then MPS, then the CPU."""
    threads: int | None = None
    """CPU threads; PyTorch's choice if not given. A run that is continued is the same bit for bit only with as many."""

    log_every: int = 10
    """Steps between lines of metrics.jsonl."""
    sample_every: int = 500
    """Steps between sample grids; the report is renewed with them."""
    checkpoint_every: int = 500
    """Steps between checkpoints."""
    keep: int = 3
    """How many checkpoints to keep; beside them, the best one and those that wait to be evaluated."""
    samples: int = 16
    """Samples in a grid."""
    tensorboard: bool = True
    """Write TensorBoard events."""
    on_alarm: Literal["stop", "warn", "rollback"] = "warn"
    """What an alarm does: stop, only warn (values that are not finite stop all the same), or go back to the checkpoint before the trouble
    with half the learning rate. Alarms of evaluations only warn."""
    max_rollbacks: int = 3
    """How often to go back before stopping."""
    alarm_patience: int = 20
    """Logged steps in a row that must show trouble before an alarm is raised; of looks at samples, every third logged step, at most 3."""
    alarm_after: int = 300
    """Step from which samples that are all alike raise an alarm."""

    eval_every: int = 0
    """Evaluate a checkpoint at every N-th step, in a process of its own while training goes on; 0 never does."""
    metrics: str = "swd"
    """Comma-separated metrics of those evaluations, as evaluate.py knows them."""
    eval_samples: int = 256
    """Clips on each side of those evaluations."""
    best: str | None = None
    """Keep the checkpoint that is best by this one of `metrics` as `checkpoints/best`; by the first one if not given."""
    eval_threads: int | None = None
    """CPU threads of an evaluation; if not given 1 where training runs on a CPU, else evaluate.py's default."""
    eval_flags: str = ""
    """Further flags of evaluate.py, in one pair of quotes: "--data heldout/ --device cpu"."""

    model: Any = None
    """The family's own settings, flags `--model.NAME`."""

    def check(self) -> "TrainConfig":
        """Cross-checks; raises UserError naming the flag. Returns itself."""
        for good, what, names in (
                (lambda value: value >= 1, "at least 1",
                 ("height", "width", "frames", "frame_skip", "batch_size", "accumulate", "d_repeats", "g_every", "penalty_every",
                  "log_every", "sample_every", "checkpoint_every", "keep", "samples", "alarm_patience", "split_list", "grow_steps",
                  "eval_samples", "m_per_class", "lr_decay_from")),
                (lambda value: value is None or value >= 1, "at least 1",
                 ("steps", "epochs", "max_frames", "workers", "threads", "eval_threads", "class_ce_steps")),
                (lambda value: 0 < value < inf, "above 0, and finite", ("lr", "image_fps")),
                (lambda value: value is None or 0 < value < inf, "above 0, and finite", ("lr_d", "fps", "clip_grad", "clip_weights")),
                (lambda value: 0 <= value < inf, "at least 0, and finite",
                 ("r1", "r2", "gp", "pixel_mse", "first_frame_l1", "class_ce", "class_ce_then", "diversity", "mask_l1", "max_rollbacks",
                  "alarm_after", "warmup", "augment_warmup", "grow_from", "eval_every")),
                (lambda value: value is None or 0 <= value < inf, "at least 0, and finite", ("class_ce_d",)),
                (lambda value: 0 <= value < 1, "at least 0 and below 1", ("beta1", "beta2", "ema")),
                (lambda value: 0 <= value <= 1, "between 0 and 1", ("augment_p", "max_broken", "grow_fade", "wrong_labels"))):
            for name in names:
                need(name, getattr(self, name), good(getattr(self, name)), what)
        self._check_model()
        need("seed", self.seed, 0 <= self.seed < 2**63, "at least 0 and below 2^63")
        if self.steps is not None and self.epochs is not None:
            raise UserError("--steps and --epochs both given: give one of them")
        if sum(value is not None for value in (self.fps, self.max_frames)) + (self.frame_skip != 1) > 1:
            raise UserError("--frame_skip, --fps and --max_frames exclude each other: give one of them")
        if self.ordered and self.m_per_class > 1:
            raise UserError("--ordered and --m_per_class exclude each other: give one of them")
        by_name = getattr(self.model, "d_norm", None) == "spectral"
        if (self.spectral_norm or by_name) and self.clip_weights is not None:
            flag = "--model.d_norm spectral" if by_name else "--spectral_norm"
            raise UserError(f"{flag} and --clip_weights {self.clip_weights} exclude each other: how large weights are makes no "
                            "difference once they are divided by their norm; give one of them")
        if self.batch_size % self.accumulate:
            raise UserError(f"--accumulate {self.accumulate} does not divide --batch_size {self.batch_size}")
        need("metrics", self.metrics, bool(self.metric_names()), "names of metrics, with commas between them")
        if self.best is not None and self.best.strip().lower() not in self.metric_names():
            raise UserError(f"--best {self.best}: must be one of --metrics {self.metrics}")
        return self

    @property
    def penalised(self) -> bool:
        """Whether slopes of the discriminator are penalised."""
        return bool(self.r1 or self.r2 or self.loss == "wgan_gp")

    def metric_names(self) -> list[str]:
        """The metrics of evaluations while training, the one that tells the best first."""
        names = [name.strip().lower() for name in self.metrics.split(",") if name.strip()]
        return sorted(names, key=lambda name: name != (self.best or "").strip().lower())

    def _check_model(self) -> None:
        """Whole numbers of a family are sizes and counts, but for those that its class lists in ``may_be_zero``."""
        for name, value in vars(self.model).items() if self.model is not None else ():
            if isinstance(value, int) and not isinstance(value, bool):
                least = 0 if name in getattr(self.model, "may_be_zero", ()) else 1
                need(f"model.{name}", value, value >= least, f"at least {least}")
            elif name.endswith("_size"):
                need(f"model.{name}", value, value > 0, "above 0")
            elif name.endswith("_turn"):
                need(f"model.{name}", value, 0 <= value < inf, "at least 0, and finite")
            elif name.endswith("_eps"):
                need(f"model.{name}", value, 0 < value < inf, "above 0, and finite")
            elif name.endswith("_dropout"):
                need(f"model.{name}", value, 0 <= value < 1, "at least 0 and below 1")

    def data_kwargs(self) -> dict:
        """Keyword arguments of ``data.VideoDataset`` but for where its frames are stored."""
        names = ("height", "width", "frames", "frame_skip", "fps", "max_frames", "fit", "split", "split_list", "image_fps",
                 "stabilize", "cache_dir", "workers", "scan", "max_broken")
        return {name: getattr(self, name) for name in names}

    def as_dict(self) -> dict:
        """Plain values, as they stand in YAML and JSON."""
        return asdict(self)

    def to_go_on(self) -> dict:
        """:meth:`as_dict` of the run that is under way: whoever gives it again wants to continue."""
        return self.as_dict() | {"restart": False}


def from_dict(values: dict, models: dict[str, type], where: str) -> TrainConfig:
    """The inverse of :meth:`TrainConfig.as_dict`; ``where`` names the file in errors."""
    values = dict(values)
    family = values.get("family")
    if family not in models:
        raise UserError(f"{where}: family {family!r} is not one of {', '.join(models)}")
    model = values.pop("model", None) or {}
    if not isinstance(model, dict):
        raise UserError(f"{where}: model: must hold settings by name")
    for kind, given in ((TrainConfig, values), (models[family], model)):
        unknown = set(given) - {item.name for item in fields(kind)}
        if unknown:
            raise UserError(f"{where}: unknown setting {', '.join(sorted(unknown))}; written by another version?")
    return TrainConfig(**values, model=models[family](**model)).check()


def differences(old: TrainConfig, new: TrainConfig) -> list[str]:
    """What differs between two configs in ways that would change the weights, as ``name: old -> new``."""
    flat_old, flat_new = (_flatten(config.as_dict()) for config in (old, new))
    settled = {"steps", "epochs"} if new.lr_decay == "cosine" else set()
    why = lambda name: f", which learning rates follow with --lr_decay {new.lr_decay}" if name in settled else ""
    return [f"{name}: {flat_old.get(name)} -> {flat_new.get(name)}{why(name)}" for name in flat_new
            if name not in FREE_TO_CHANGE - settled and flat_old.get(name) != flat_new[name]]


def _flatten(values: dict, prefix: str = "") -> dict:
    flat = {}
    for name, value in values.items():
        flat.update(_flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value})
    return flat
