"""Inception score: exp of the mean divergence KL(p(y|x) || p(y)), over splits (Salimans et al. 2016, arXiv 1606.03498,
section 4; of clips, with a video classifier: Saito et al. 2017, arXiv 1611.06624).

High where every sample is clearly of one class and all classes occur; between 1 and the number of classes. It sees the
generated side alone and depends on the classifier and on how many samples a split has, so only the score of real
samples beside it tells what is good. Computed by torch-fidelity. """

import math

from torch import Tensor

from metrics.fidelity import fidelity
from metrics.protocol import Score
from metrics.samples import checked


def inception_score(logits: Tensor, splits: int = 10, seed: int = 2020) -> Score:
    """The score of a classifier's ``logits (N, classes)``, shuffled by ``seed`` and cut into ``splits``, of which the
    value is the mean. ValueError for more splits than samples."""
    logits, = checked(logits, least=1)
    if not 1 <= splits <= len(logits):
        raise ValueError(f"{len(logits)} samples do not make {splits} splits")
    # The logarithm of a class that underflows to zero in a whole split would make the score undefined.
    logits = (logits - logits.amax(dim=1, keepdim=True)).clamp(min=-700)
    metric_isc = fidelity("metric_isc")
    found = metric_isc.isc_features_to_metric(logits, splits, rng_seed=seed)
    most, classes = math.ceil(len(logits) / splits), logits.shape[1]
    note = f"at most {most} samples a split for {classes} classes: the score cannot be above {most}" if most < classes else ""
    parts = {"standard deviation over splits": found[metric_isc.KEY_METRIC_ISC_STD]} if splits > 1 else {}
    return Score(found[metric_isc.KEY_METRIC_ISC_MEAN], parts, note)
