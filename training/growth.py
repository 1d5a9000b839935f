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


def grown_at(config: TrainConfig) -> int:
    """The first training step at full size with nothing fading in any more."""
    return config.grow_from * config.grow_steps + 1


def cut_short(config: TrainConfig, steps: int, enough: str) -> str:
    """What is wrong with a run of ``steps`` steps that ends before it has grown, in one line; nothing if it does not. ``enough``: the flag
    that would make it long enough."""
    if steps >= grown_at(config):
        return ""
    level, _ = stage(config, steps)
    where = f"at {config.height >> level}x{config.width >> level}, not {config.height}x{config.width}" if level else "in its last fade"
    quicker = (steps - 1) // config.grow_from
    return (f"--grow_from {config.grow_from} --grow_steps {config.grow_steps}: the last of {steps} steps will be {where}; to grow fully, "
            f"take {enough} or more" + (f", or --grow_steps {quicker} or less" if quicker else ""))
