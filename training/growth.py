"""When a growing network grows: a function of the training step alone, so that there is no state to save."""

from configs.schema import TrainConfig


def stage(config: TrainConfig, step: int) -> tuple[int, float]:
    """(level, alpha) of training step ``step`` (from 1): the networks work at 1/2^level of the full size, and the newest layers have
    the share ``alpha``, which rises in equal steps to 1.

    The first level lasts as long as the others without their fade (Karras et al. 2018, appendix A: as many clips fading as after).
    """
    fading = round(config.grow_steps * config.grow_fade)
    since = step - 1 - (config.grow_steps - fading)  # of the first doubling
    if since < 0 or not config.grow_from:
        return config.grow_from, 1.0
    doublings, part = divmod(since, config.grow_steps)
    if doublings >= config.grow_from:
        return 0, 1.0
    return config.grow_from - 1 - doublings, 1.0 if part >= fading else (part + 1) / (fading + 1)
