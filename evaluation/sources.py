"""Clips on disk as crowds, and what a protocol says of how they came to be."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from data.dataset import VideoDataset
from data.decode import read_frames, read_image
from data.layouts import is_picture
from data.synthetic import is_synthetic
from metrics.protocols import CLIP_LENGTH
from metrics.registry import COLLECTORS, Metric
from metrics.sets import Crowd
from utils import distributed
from utils.errors import UserError


@contextmanager
def flags_of_evaluate(flag: str):
    """What data/ says of --data and --frames, said of ``flag`` and --clip_frames."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).replace("--data ", f"{flag} ", 1).replace("--frames", "--clip_frames")) from None


def keep_out(output: Path, flag: str, source: str) -> None:
    """UserError if ``output`` lies in the folder ``source``."""
    if not is_synthetic(source) and Path(source).is_dir() and output.resolve().is_relative_to(Path(source).resolve()):
        raise UserError(f"--output {output}: lies in {flag} {source}, where the report's pictures would be measured next time; "
                        "take another folder")


def read_clips(source: str, settings: dict, flag: str = "--data") -> VideoDataset:
    """``source`` extracted with ``settings``; where several processes work together the first one does it for all."""
    with distributed.main_first(), flags_of_evaluate(flag):
        return VideoDataset(source, **settings, quiet=not distributed.is_main())


def crowd(name: str, dataset: VideoDataset) -> Crowd:
    """The clips of ``dataset``, as they were extracted."""
    separate = dataset.consecutive_clips()
    get = lambda numbers: dataset.gather(numbers)["video"].cpu()
    labels = lambda numbers: dataset.labels()[numbers]
    return Crowd(name, get, len(dataset), separate, dataset.fingerprint, dataset.video_of(separate), labels)


def extracted(settings: dict, dataset: VideoDataset) -> dict:
    """``settings`` with the rate that came of them."""
    return settings | {"fps": dataset.fps, "frame_skip": dataset.frame_skip}


def rates(real: float, fake: float, frames: int) -> list[str]:
    """A remark where clips of the two sides do not run at the same rate, to within rounding of time stamps."""
    if frames < 2 or abs(real - fake) < 0.02 * max(real, fake):
        return []
    return [f"real clips have {real:.4g} frames a second, generated ones {fake:.4g}: metrics of motion see this too; --fps or --frame_skip "
            "change how real clips are read"]


def unusable(dataset: VideoDataset) -> list[str]:
    """A remark where not all videos could be used as they are."""
    return [*dataset.report.notes, *filter(None, [dataset.report.trouble()])]


def resize(fit: str) -> str:
    """How frames are brought to size, for the protocol."""
    return f"{fit}, area averages down, bicubic up"


def stabilized(settings: dict) -> dict:
    """For the protocol; nothing where frames stand as they were taken."""
    return {"stabilized": True} if settings.get("stabilize") else {}


def frames_of(path: Path, frame_skip: int, fps: float | None) -> Iterator[np.ndarray]:
    """Frames of a video or stack, or the one of an image, uint8 RGB ``(H, W, 3)``."""
    if not is_picture(path):
        return read_frames(path, frame_skip=frame_skip, fps=fps)
    picture = read_image(path)
    if picture is None:
        raise UserError(f"{path}: cannot be read as an image")
    return iter([np.ascontiguousarray(picture[..., ::-1])])


def frames_needed(metric: Metric, networks: dict) -> int:
    """The shortest clip that ``metric`` can look at. ``networks``: those that are loaded, by Metric.needs. A network of clips would take
    one frame too, and see no motion; one of ours has clips of its own length."""
    if metric.kind == "pairs":
        return 2
    needed = networks[metric.needs].needs_frames if metric.needs else COLLECTORS[metric.collects].needs_frames
    return max(needed, 2) if metric.looks_at == "clips" and metric.network != "own" else needed


def usual_frames(metric: Metric, networks: dict) -> int:
    """The length of clips that ``metric`` is shown where nothing else is asked for: the field's, of networks of clips."""
    of_clips = metric.looks_at == "clips" and metric.network != "own"
    return max(CLIP_LENGTH if of_clips else 1, frames_needed(metric, networks))


def check_clips(metrics: dict[str, Metric], networks: dict, settings: dict, source: str) -> None:
    """Too small or too short clips are refused before any work."""
    height, width, frames = settings["height"], settings["width"], settings["frames"]
    for name, metric in metrics.items():
        if min(height, width) < metric.smallest:
            raise UserError(f"--metrics {name}: needs at least {metric.smallest}x{metric.smallest} pixels; "
                            f"frames of {source} have {height}x{width}")
        if frames < (needed := frames_needed(metric, networks)):
            raise UserError(f"--metrics {name}: needs clips of {needed} frames or more; those of {source} have {frames}")
