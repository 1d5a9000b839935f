"""Kernel distance of features: the unbiased squared MMD under the kernel (<x, y> / D + 1)^3, mean over random subsets
(KID: Binkowski et al. 2018, arXiv 1801.01401, section 4; on features of clips it is called KVD: Unterthiner et al.
2019). Unlike the Frechet distance it has no bias, so few samples make it noisy, not large; it may come out below zero.

The subsets and the estimate are torch-fidelity's, in float64: its float32 leaves errors up to 1e-6, which is what a small
distance amounts to. Where all subsets together hold more pairs than the features do, kernels of all pairs are
summed once, a block at a time, instead of once per subset: ten times faster for 2048 against 2048 features. """

import numpy as np
import torch
from torch import Tensor

from metrics.fidelity import fidelity
from metrics.protocol import Score
from metrics.samples import checked

_BLOCK = 1024  # rows of a kernel matrix held at a time


def kid(real: Tensor, fake: Tensor, *, subsets: int = 100, subset_size: int = 1000, seed: int = 2020) -> Score:
    """Squared MMD of features ``(N, D)`` and ``(M, D)``; its standard deviation over subsets is a part.

    Subsets shrink to the smaller side where that has fewer samples, with a note; ValueError below 2. As
    torch-fidelity's first input goes the generated side. """
    real, fake = checked(real, fake, least=2)
    size = min(subset_size, len(real), len(fake))
    if size < 2 or subsets < 1:
        raise ValueError(f"{subsets} subsets of {size} samples have no unbiased estimate")
    if max(len(real), len(fake))**2 < subsets * size**2:
        values = _of_subsets(fake, real, subsets, size, seed)
        mean, deviation = float(np.mean(values)), float(np.std(values))
    else:
        metric_kid = fidelity("metric_kid")
        found = metric_kid.kid_features_to_metric(fake, real, kid_subsets=subsets, kid_subset_size=size, rng_seed=seed, verbose=False)
        mean, deviation = found[metric_kid.KEY_METRIC_KID_MEAN], found[metric_kid.KEY_METRIC_KID_STD]
    note = f"subsets of {size} samples, not {subset_size}: there are no more" if size < subset_size else ""
    # Subsets that are all there is have nothing to differ in.
    return Score(mean, {"standard deviation over subsets": deviation} if size < max(len(real), len(fake)) else {}, note)


def _of_subsets(x: Tensor, y: Tensor, subsets: int, size: int, seed: int) -> np.ndarray:
    """The estimate of each subset."""
    chosen = [torch.zeros(len(side), subsets, dtype=torch.float64) for side in (x, y)]
    generator = np.random.RandomState(seed)  # the order of draws is torch-fidelity's
    for number in range(subsets):
        for side in chosen:
            side[generator.choice(len(side), size, replace=False), number] = 1
    within = [_sums(side, side, *[marks] * 2) - marks.T @ _kernel(side.square().sum(dim=1), side.shape[1])
              for side, marks in zip((x, y), chosen)]
    across = _sums(x, y, *chosen)
    return ((within[0] + within[1]) / (size * (size - 1)) - 2 * across / size**2).numpy()


def _sums(x: Tensor, y: Tensor, of_x: Tensor, of_y: Tensor) -> Tensor:
    """Per subset the sum of the kernel over all its pairs."""
    return sum(((_kernel(rows @ y.T, y.shape[1]) @ of_y) * marks).sum(dim=0)
               for rows, marks in zip(x.split(_BLOCK), of_x.split(_BLOCK)))


def _kernel(products: Tensor, dim: int) -> Tensor:
    base = products / dim + 1
    return base * base * base
