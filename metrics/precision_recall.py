"""Fidelity and variety apart, from balls around samples that reach to their k-th neighbour on the same side.

Precision: the share of generated samples in some ball of a real one; recall: the share of real samples in some ball of
a generated one (Kynkaanniemi et al. 2019, arXiv 1904.06991, equations 1 and 2), by torch-fidelity. Density: how many
balls of real samples hold a generated one, on average over k; coverage: the share of real balls that hold any (Naeem et
al. 2020, arXiv 2002.09797, equations 5 and 6): one outlier among the reals does not raise them. """

import torch
from torch import Tensor

from metrics.fidelity import fidelity
from metrics.protocol import Score
from metrics.samples import checked

NEIGHBOURS = 5  # of density and coverage


def precision_recall(real: Tensor, fake: Tensor, k: int = 3) -> tuple[Score, Score]:
    """Precision and recall of features ``(N, D)`` and ``(M, D)``; ValueError for k samples or fewer."""
    real, fake = checked(real, fake, least=k + 1)
    metric_prc = fidelity("metric_prc")
    found = metric_prc.prc_features_to_metric(fake, real, prc_neighborhood=k, verbose=False)
    return Score(found[metric_prc.KEY_METRIC_PRECISION]), Score(found[metric_prc.KEY_METRIC_RECALL])


def precision(real: Tensor, fake: Tensor, k: int = 3) -> Score:
    return precision_recall(real, fake, k)[0]


def recall(real: Tensor, fake: Tensor, k: int = 3) -> Score:
    return precision_recall(real, fake, k)[1]


def density_coverage(real: Tensor, fake: Tensor, k: int = NEIGHBOURS) -> tuple[Score, Score]:
    """Density, which may be above 1, and coverage of features ``(N, D)`` and ``(M, D)``; ValueError for k samples or
    fewer."""
    real, fake = checked(real, fake, least=k + 1)
    radius = torch.cdist(real, real).kthvalue(k + 1).values  # the nearest neighbour of a sample is itself
    found = torch.cdist(real, fake) < radius[:, None]
    return Score(float(found.double().sum() / (k * len(fake)))), Score(float(found.any(dim=1).double().mean()))
