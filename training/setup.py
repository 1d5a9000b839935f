"""From a config to what training needs: hardware, data, task."""

from dataclasses import dataclass
from functools import partial
from math import ceil

import torch

from configs.schema import TrainConfig
from data.dataset import VideoDataset
from models.growth import halve
from models.layers import before_tanh
from training.growth import cut_short, grown_at
from training.registry import FAMILIES
from training.remarks import of_optimizer
from training.step import to_float
from training.task import DataInfo, Task
from utils import distributed, hardware
from utils.errors import UserError
from utils.seeds import derive

DEFAULT_STEPS = 2000
MEAN_FRAMES, PAIRS = 512, 256


@dataclass
class Setup:
    """Everything that stands before the first step."""

    config: TrainConfig
    device: torch.device
    dtype: torch.dtype
    dataset: VideoDataset
    info: DataInfo
    task: Task
    steps: int
    """Training steps in all."""
    files: dict[str, str]
    """SHA-256 of the files that training reads beside the videos, by the flags that name them."""


def prepare(config: TrainConfig) -> Setup:
    """Choose the hardware, read the videos, build the networks."""
    if config.threads:
        torch.set_num_threads(config.threads)
    device = hardware.pick_device(config.device, distributed.local_rank())
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = config.precision != "fp32"  # who asks for float32 wants no rounding to 11 bits
    else:
        hardware.keep_freed_memory()
    distributed.start(device)
    share = distributed.local_rows(config.batch_size)
    if (share.stop - share.start) % config.accumulate:
        raise UserError(f"--accumulate {config.accumulate} does not divide the {share.stop - share.start} clips that each of the "
                        f"{distributed.world_size()} processes gets of --batch_size {config.batch_size}")
    with torch.device("meta"):  # a size that does not fit is told before the videos are read
        task = build_task(config, DataInfo(), torch.device("meta"))
    for remark in of_optimizer(config):
        distributed.warn(remark)
    files = task.get_ready() if hasattr(task, "get_ready") else {}
    if distributed.any_of(distributed.from_main(files) != files):
        raise UserError(f"{', '.join(files)}: not all processes read the same file; see that every machine has it")
    dataset = read_videos(config, device)
    info = DataInfo(dataset.classes, dataset.fps, dataset.frame_skip, partial(mean_frame, dataset), partial(clip_distance, dataset),
                    partial(principal_components, dataset), dataset.shown)
    _warn_of_classes(config, info)
    clips = len(dataset.consecutive_clips() if config.ordered else dataset)
    steps = count_steps(config, clips)
    _warn_if_cut_short(config, steps, clips)
    return Setup(config, device, hardware.pick_dtype(config.precision, device), dataset, info, build_task(config, info, device), steps,
                 files)


def read_videos(config: TrainConfig, device: torch.device) -> VideoDataset:
    """The main process extracts, then the others find the cache filled."""
    with distributed.main_first():
        dataset = VideoDataset(config.data, storage=config.storage, device=device, quiet=not distributed.is_main(), **config.data_kwargs())
    if distributed.any_of(distributed.from_main(dataset.fingerprint) != dataset.fingerprint):
        raise UserError(f"--data {config.data}: not all processes read the same videos; see that every machine has the same files, and "
                        "look for broken ones with python -m data.scan")
    return dataset


def mean_frame(dataset: VideoDataset) -> torch.Tensor:
    """(3, H, W) in [-1, 1], the mean over the first frames of at most ``MEAN_FRAMES`` clips, spread evenly."""
    chosen = _evenly(len(dataset), MEAN_FRAMES)
    total = sum(dataset.gather(part)["video"][:, 0].cpu().double().sum(0) for part in chosen.split(64))
    return (total / len(chosen) / 127.5 - 1).float().permute(2, 0, 1)


def clip_distance(dataset: VideoDataset, halvings: int = 0) -> list[float]:
    """The mean absolute difference between two clips of one class, of each its mean over time, values from -1 to 1, as they are and
    after each of so many halvings of height and width: over at most ``PAIRS`` pairs, of which the two lie half of their class apart; 0.0
    where no class has two clips."""
    labels, found = dataset.labels(), [[] for _ in range(halvings + 1)]
    classes = labels.unique()
    for label in classes:
        members = torch.nonzero(labels == label).flatten()
        half = len(members) // 2
        chosen = _evenly(half, max(1, PAIRS // len(classes)))
        for part in chosen.split(32) if half else ():
            first, second = (to_float(dataset.gather(members[part + shift])["video"], torch.device("cpu")) for shift in (0, half))
            apart = (first - second).mean(2, keepdim=True)
            for times, distances in enumerate(found):
                distances.append(halve(apart, times).abs().flatten(1).mean(1))
    return [float(torch.cat(distances).mean()) if distances else 0.0 for distances in found]


def principal_components(dataset: VideoDataset, number: int) -> torch.Tensor:
    """(number, 3, H, W): directions in which the training frames vary most about :func:`mean_frame`, both before a tanh, from the strongest
    on. Each is as long as the frames' root mean square along it; zeros where there are fewer.

    From the first frames of at most four times as many clips, spread evenly,
    by the eigenvectors of their Gram matrix (Sirovich & Kirby 1987).
    """
    mean, frames = mean_frame(dataset), []
    for part in _evenly(len(dataset), 4 * number).split(64):
        frames.append(before_tanh(dataset.gather(part)["video"][:, 0].permute(0, 3, 1, 2).cpu().float() / 127.5 - 1).flatten(1))
    frames = torch.cat(frames) - before_tanh(mean).flatten()
    _, vectors = torch.linalg.eigh((frames @ frames.T).double())
    components = vectors.flip(1)[:, :number].T.float() @ frames / len(frames)**0.5
    return torch.cat([components, frames.new_zeros(number - len(components), frames.shape[1])]).view(number, *mean.shape)


def _evenly(count: int, most: int) -> torch.Tensor:
    """At most ``most`` of the numbers below ``count``, spread evenly."""
    return torch.linspace(0, count - 1, min(most, count), dtype=torch.float64).long()  # float32 rounds beyond 2^24


def build_task(config: TrainConfig, info: DataInfo, device: torch.device | None = None) -> Task:
    """The family's task with the weights that ``config.seed`` gives, the same in every process."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(config.seed, "initial weights"))
        return FAMILIES[config.family].task(config, info, device or torch.device("cpu"))


def count_steps(config: TrainConfig, clips: int) -> int:
    """``--steps``, or ``--epochs`` passes over the clips (each step consumes as many batches as the busiest phase repeats)."""
    if config.epochs is None:
        return config.steps or DEFAULT_STEPS
    return max(1, config.epochs * clips // _clips_per_step(config))


def _clips_per_step(config: TrainConfig) -> int:
    return config.batch_size * config.d_repeats


def _warn_of_classes(config: TrainConfig, info: DataInfo) -> None:
    """No error: the recipe for classes trains on videos without, only not for what it is there for."""
    asked = [f"--{name} {getattr(config, name)}" for name, usual in (("class_ce", 0), ("class_ce_d", None), ("wrong_labels", 0),
                                                                     ("m_per_class", 1)) if getattr(config, name) != usual]
    without = [name for label, name in enumerate(info.classes) if label not in info.shown]
    if without:
        distributed.warn(f"{len(without)} of {info.num_classes} classes have no clip to learn from (the first: {without[0]})")
    if asked and info.num_classes == 1:
        distributed.warn(f"{' and '.join(asked)}: the videos of --data {config.data} are all of one class, so this has no effect; "
                         "classes are top-level folders, with no video beside them")


def _warn_if_cut_short(config: TrainConfig, steps: int, clips: int) -> None:
    """No error: a run may be tried out, or go on later with more steps."""
    needed = grown_at(config)
    enough = f"--steps {needed}" if config.epochs is None else f"--epochs {ceil(needed * _clips_per_step(config) / clips)}"
    problem = cut_short(config, steps, enough)
    if problem:
        distributed.warn(problem)
