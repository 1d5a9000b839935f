"""Metrics of what a feature network makes of clips: from collected features to a score with its remarks."""

from collections.abc import Callable

import torch
from torch import Tensor

from metrics import inception_score as inception
from metrics import kernel, precision_recall
from metrics.features import Features
from metrics.frechet import FrechetResampler, frechet_at_infinity, frechet_distance, frechet_of_features
from metrics.protocol import Score

SUBSETS, SUBSET_SIZE = 100, 1000  # of KID, as torch-fidelity has them
AT_INFINITY = "at infinite N"
FEWEST_FOR_LINE = 2  # FID without its bias is given from this many samples per dimension: below, the line is none


def frechet(real: Features, fake: Features) -> Score:
    """FID of features of frames (Heusel et al. 2017), FVD of features of clips (Unterthiner et al. 2018)."""
    if real.complete and fake.complete:  # exact for fewer samples than dimensions, where a covariance loses digits
        value = frechet_of_features(_flat(real), _flat(fake))
    else:
        value = frechet_distance(real.gaussian(), fake.gaussian())
    frames, dimensions = real.features().shape[1:]
    samples = min(side.gaussian().count for side in (real, fake)) // frames  # clips: frames of one are alike
    if samples <= dimensions:
        why = "the covariance is not of full rank" if samples * frames <= dimensions else "frames of one clip are much alike"
        return Score(value, note=f"{samples} samples for {dimensions} features: {why} and the value is far too high; compare it with equal "
                                 "numbers alone, or take kid, which has no such bias")
    if not (real.complete and fake.complete) or samples < FEWEST_FOR_LINE * dimensions:
        return Score(value)
    intercept, by_size = frechet_at_infinity(_flat(real), _flat(fake), real.draw.seed, frames=frames)
    return Score(value, {AT_INFINITY: intercept}, by_size=by_size)


def frechet_resampler(real: Features, fake: Features) -> Callable[[Tensor, Tensor], float]:
    """Rows (clips) of both sides -> the distance."""
    resampler = FrechetResampler(_flat(real), _flat(fake))
    frames = [side.features().shape[1] for side in (real, fake)]
    return lambda *rows: resampler.at(*(_frame_rows(clips, count) for clips, count in zip(rows, frames)))


def kid(real: Features, fake: Features) -> Score:
    """Kernel distance (Binkowski et al. 2018), of frames KID, of clips KVD."""
    return kernel.kid(_flat(real), _flat(fake), subsets=SUBSETS, subset_size=SUBSET_SIZE)


def kid_resampler(real: Features, fake: Features) -> Callable[[Tensor, Tensor], float]:
    """The same of chosen clips, by a tenth of the subsets."""
    return lambda a, b: kernel.kid(_flat(real.select(a)), _flat(fake.select(b)), subsets=SUBSETS // 10, subset_size=SUBSET_SIZE).value


def precision(real: Features, fake: Features) -> Score:
    """The share of generated samples that lie where real ones do (Kynkaanniemi et al. 2019)."""
    return precision_recall.precision(_flat(real), _flat(fake))


def recall(real: Features, fake: Features) -> Score:
    """The share of real samples that lie where generated ones do."""
    return precision_recall.recall(_flat(real), _flat(fake))


def density(real: Features, fake: Features) -> Score:
    """How many real neighbourhoods a generated sample lies in (Naeem et al. 2020); about 1 for samples like real ones."""
    return precision_recall.density_coverage(_flat(real), _flat(fake))[0]


def coverage(real: Features, fake: Features) -> Score:
    """The share of real neighbourhoods that hold a generated sample."""
    return precision_recall.density_coverage(_flat(real), _flat(fake))[1]


def inception_score(side: Features) -> Score:
    """How sure a classifier is of each sample and how different it finds them (Salimans et al. 2016), of one crowd: over 10 splits of
    frames; of clips without splits, as TGAN's and TGANv2's programs have it (Saito et al. 2017, arXiv 1611.06624)."""
    return inception.inception_score(side.logits().flatten(0, 1), 1 if side.network.looks_at == "clips" else 10)


def inception_resampler(side: Features) -> Callable[[Tensor], float]:
    """The same of chosen clips."""
    return lambda rows: inception_score(side.select(rows)).value


def _flat(side: Features) -> Tensor:
    return side.features().flatten(0, 1)


def _frame_rows(clips: Tensor, frames: int) -> Tensor:
    """Numbers of clips -> numbers of their frames."""
    return (clips[:, None] * frames + torch.arange(frames)).flatten()
