"""How learning rates change over a run."""

import math

from configs.schema import TrainConfig


def share(config: TrainConfig, step: int, steps: int) -> float:
    """What share of its learning rate a network trains with at ``step``, from 1 to ``steps``: a function of these alone, so that a run
    that goes on needs to remember nothing."""
    rising = min(1.0, step / max(config.warmup, 1))
    if config.lr_decay == "sqrt":  # Karras et al. 2024, arXiv 2312.02696
        return rising * min(1.0, math.sqrt(config.lr_decay_from / step))
    if config.lr_decay == "cosine":
        return rising * (1 + math.cos(math.pi * (step - 1) / steps)) / 2
    return rising
