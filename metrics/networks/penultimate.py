"""What a network knows just before it decides: the features behind a classifier, or behind a discriminator of ours."""

from torch import Tensor, nn

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def penultimate(module: nn.Module, *inputs, **options) -> tuple[Tensor, Tensor]:
    """Run ``module`` on ``inputs``; returns what went into the last linear or convolutional layer that ran, ``(B, D)``, and the output.

    ValueError if none ran.
    """
    seen: list[Tensor] = []

    def remember(_, arguments) -> None:
        seen[:] = [arguments[0]]

    hooks = [part.register_forward_pre_hook(remember) for part in module.modules() if isinstance(part, _LAYERS)]
    try:
        output = module(*inputs, **options)
    finally:
        for hook in hooks:
            hook.remove()
    if not seen:
        raise ValueError(f"{type(module).__name__} runs no such layer, so it has no features before one")
    return seen[0].flatten(1), output
