"""A checkpoint's samples against real clips, extracted as those it was trained on."""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from configs.schema import TrainConfig
from data.dataset import VideoDataset
from evaluation.config import EvaluateConfig, given, once
from evaluation.crowds import measure_sets
from evaluation.measured import Measured
from evaluation.sources import check_clips, crowd, extracted, keep_out, rates, read_clips, resize, stabilized, unusable
from metrics import pictures
from metrics.prediction import compare_predictions
from metrics.protocol import to_uint8
from metrics.registry import Metric
from metrics.sets import Crowd, draw_clips
from training.restore import Sampler, load_sampler
from training.step import to_float
from utils import hardware
from utils.errors import UserError
from utils.seeds import torch_generator


def measure_model(config: EvaluateConfig, pairs: dict[str, Metric], sets: dict[str, Metric], networks: dict) -> list[Measured]:
    """``pairs``: metrics that compare predictions with how real clips went on; ``sets``: those of crowds."""
    sampler = load_sampler(config.checkpoint, config.device, config.precision)
    if pairs and not sampler.takes_image:
        why = ("what this model makes of a film is measured by generate.py --keyframe_interval" if sampler.wants_video else
               "frames made from noise have none, so the number would mean nothing; take swd for a model, --real and --fake for "
               "reconstructions")
        raise UserError(f"--metrics {','.join(pairs)}: compares each frame with its reference, and {why}")
    trained = sampler.config
    source = config.data or trained.data
    if config.data is None:  # which evaluate.py has looked at
        keep_out(Path(config.output), "the videos of the model,", source)
    # Where frames are kept and who extracts them is this machine's own, though they may lie where training had them.
    kept = config.cache_dir or (trained.cache_dir if trained.cache_dir and os.access(trained.cache_dir, os.W_OK) else None)
    settings = trained.data_kwargs() | {"cache_dir": kept, "workers": None} | given(config, "fit", "split")
    _check_protocol(config, sampler)
    if trained.max_frames and sampler.frame_skip:  # the rate it knows, and not the one that other videos would get
        settings |= {"frame_skip": sampler.frame_skip, "max_frames": None}
    if config.frame_skip or config.fps:
        settings |= {"frame_skip": config.frame_skip or 1, "fps": config.fps, "max_frames": None}
    shown = config.clip_frames or settings["frames"]  # of each clip; a model may make longer ones
    if shown > settings["frames"]:
        raise UserError(f"--clip_frames {shown}: the model makes clips of {settings['frames']} frames")
    if sets and shown < config.frames_per_clip:
        raise UserError(f"--frames_per_clip {config.frames_per_clip}: clips have {shown} frames")
    check_clips(pairs | sets, networks, settings | {"frames": shown}, config.checkpoint)
    # A model that answers to real clips needs them as long as its own.
    whole = read_clips(source, settings) if shown == settings["frames"] or sampler.wants_video else None
    dataset = whole if shown == settings["frames"] else read_clips(source, settings | {"frames": shown})
    real = crowd(source, dataset)
    count = int(min(config.num_samples, real.most(config.one_per_video)))
    compared = lambda draw: draw_clips(real, count, config.seed + draw, config.one_per_video)[0]
    asked = cache(lambda draw: _clips_to_answer_to(whole, dataset, compared(draw), config.seed + draw))
    wanted = _labels_to_ask_for(sampler, dataset.classes, dataset.labels()[compared(0)], config.seed)

    def generate(numbers: Tensor) -> Tensor:
        draw = int(numbers[0]) // config.num_samples
        clips = whole.gather(asked(draw)[0][numbers % config.num_samples % len(whole)])["video"] if sampler.wants_video else None
        latents = torch.cat([sampler.latents(1, config.seed, int(number)) for number in numbers])
        return answer(clips, latents, wanted(numbers))[:, :shown]

    def answer(clips: Tensor | None, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        video = sampler.sample(latents, labels, None if clips is None else to_float(clips, torch.device("cpu")))
        if not torch.isfinite(video).all():
            raise UserError(f"--checkpoint {config.checkpoint}: generates values that are not finite; take an earlier one")
        return to_uint8(video)

    precision = str(hardware.pick_dtype(config.precision, hardware.pick_device(config.device))).removeprefix("torch.")
    name = f"{config.checkpoint}, step {sampler.step}"
    # The model's classes, by what number the real clips call them.
    known = torch.tensor([dataset.classes.index(each) if each in dataset.classes else -1 for each in sampler.classes])
    labels = (lambda numbers: known[wanted(numbers)]) if sampler.takes_labels and sampler.num_classes > 1 else None
    found = extracted(settings | {"frames": shown}, dataset)
    parts = []
    if pairs:
        predict = lambda clips: answer(clips, sampler.latents(len(clips), config.seed))[:, :shown]
        parts.append(_measure_predictions(config, pairs, real, name, predict, found, precision))
        if trained.random_frame:
            parts[-1].notes.append(f"{', '.join(pairs)}: frames are compared as if the image stood first, and this model, trained with "
                                   "--random_frame, may place it at any moment of its film")
        if config.data is None and settings["split"] == trained.split:
            parts[-1].notes.append("predicted: videos that the model was trained on; --data names others")
    if sets:
        parts.append(measure_sets(config, sets, networks, real, Crowd(name, generate, labels=labels, answers=sampler.wants_video), found,
                                  precision, dataset.classes))
        if parts[-1] and sampler.wants_video and (apart := asked(0)[1]) < count:
            parts[-1].notes.append(f"{count} clips that the model answers to, of which only {apart} share no frame with those that its "
                                   "answers are compared with: it is the closer to them; take fewer --num_samples")
        if parts[-1]:
            parts[-1].notes += rates(dataset.fps, sampler.fps, shown) + unusable(dataset)
            if config.data is None and _as_trained(settings | {"frames": shown}, trained) and dataset.fingerprint != sampler.videos:
                parts[-1].notes.append(f"the videos in {source} are not those that the model was trained on, or not all of them")
            if labels and (absent := [each for each, number in zip(sampler.classes, known.tolist()) if number < 0]):
                parts[-1].notes.append(f"{len(absent)} of the model's {sampler.num_classes} classes have no real clip: "
                                       f"{', '.join(absent[:5])}{', ...' * (len(absent) > 5)}")
    return parts


def _clips_to_answer_to(whole: VideoDataset, dataset: VideoDataset, compared: Tensor, seed: int) -> tuple[Tensor, int]:
    """Numbers of clips of ``whole`` in the order in which a model is asked about them, and how many share no frame with the clips
    ``compared`` of ``dataset``, which may be shorter. They come from everywhere, and those first: what answers to a clip is near to it and
    its neighbours."""
    order = torch.randperm(len(whole), generator=torch_generator(seed, "clips to answer to"))
    videos = {name: number for number, name in enumerate(dataset.names)}
    place, others = (_places(side, numbers.numpy(), videos) for side, numbers in ((whole, order), (dataset, compared)))
    others = others.sort().values
    first = torch.searchsorted(others, place - dataset.frames, right=True)  # that ends after the clip begins
    shares = (first < len(others)) & (others[first.clamp(max=len(others) - 1)] < place + whole.frames)
    nearness = shares.int() + torch.isin(place, others).int()
    return order[nearness.argsort(stable=True)], int((nearness == 0).sum())


def _places(dataset: VideoDataset, numbers: np.ndarray, videos: dict[str, int]) -> Tensor:
    """Where the clips ``numbers`` begin, in frames; those of different ``videos`` (numbers by name) are far apart."""
    video = np.array([videos.get(name, -1) for name in dataset.names])[dataset.video_of(numbers)]
    return torch.from_numpy(video * 2**32 + dataset.frame_of(numbers))


def _labels_to_ask_for(sampler: Sampler, classes: list[str], labels: Tensor, seed: int) -> Callable[[Tensor], Tensor]:
    """Numbers of clips to generate -> their labels: the ``labels`` (N,), numbers among ``classes``, of the real clips they are compared
    with (in the first draw), in another order. In turn where the two sides have no class in common."""
    number_of = {name: number for number, name in enumerate(sampler.classes)}
    of_real = torch.tensor([number_of.get(name, -1) for name in classes] or [-1])[labels]
    of_real = of_real[of_real >= 0]
    if not len(of_real):
        return lambda numbers: torch.tensor(sampler.shown)[numbers % len(sampler.shown)]
    of_real = of_real[torch.randperm(len(of_real), generator=torch_generator(seed, "labels to ask for"))]
    return lambda numbers: of_real[numbers % len(of_real)]


def _as_trained(settings: dict, trained: TrainConfig) -> bool:
    """Whether clips are read as those of training were, so that of the same videos the same clips come."""
    own = trained.data_kwargs()
    return trained.max_frames is None and all(settings[name] == own[name] for name in own.keys() - {"cache_dir", "workers"})


def _check_protocol(config: EvaluateConfig, sampler: Sampler) -> None:
    """A named protocol fixes the frame skip and how frames are filled; a model of others cannot be measured by it."""
    if config.protocol and sampler.config.fit != config.fit:
        raise UserError(f"--protocol {config.protocol}: has --fit {config.fit}, the model was trained with --fit {sampler.config.fit}; "
                        f"measure without --protocol, --metrics {config.metrics}")
    rate, skip = sampler.config.fps, sampler.frame_skip or sampler.config.frame_skip
    if config.protocol and (rate or skip != config.frame_skip):
        how = f"{rate:g} frames a second" if rate else f"frame_skip {skip}"
        hint = "" if rate else f"; --protocol {config.protocol.partition('_skip')[0]}_skip{skip} is the one for it"
        raise UserError(f"--protocol {config.protocol}: has frame_skip {config.frame_skip}, the model was trained with {how}{hint}")


def _measure_predictions(config: EvaluateConfig, metrics: dict[str, Metric], real: Crowd, name: str,
                         predict: Callable[[Tensor], Tensor], settings: dict, precision: str) -> Measured:
    """What a model makes of the first frames of real clips against how they went on."""
    found = compare_predictions(metrics, real, predict, config.num_samples, config.seed, config.batch_size, config.resamples)
    shared = {key: settings[key] for key in ("split", "frame_skip", "fps", "height", "width")}
    shared |= {"fake": name, "resize": resize(settings["fit"]), "precision": precision}
    results, notes = found.results(metrics, shared, stabilized(settings))
    notes += once(config, metrics)
    picture = pictures.side_by_side(found.shown["real"], found.shown["predicted"], "real last frames", "predicted last frames")
    return Measured(results, {"predictions.png": picture}, notes)
