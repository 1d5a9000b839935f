"""Optimisers by name."""

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from configs.schema import TrainConfig

# Elements that an update works on at a time: what it needs besides stays in the processor's cache.
CHUNK = 2**20


def make_optimizer(config: TrainConfig, net: nn.Module, lr: float) -> Optimizer:
    """``config.optimizer`` over the parameters of ``net``: Adam (Kingma & Ba 2015, arXiv 1412.6980), :class:`AdamLean`, or RMSprop
    with decay ``beta2``."""
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(net.parameters(), lr=lr, alpha=config.beta2)
    betas = (config.beta1, config.beta2)
    if config.optimizer == "adam_lean":
        return AdamLean(net.parameters(), lr=lr, betas=betas)
    return torch.optim.Adam(net.parameters(), lr=lr, betas=betas, fused=True)


class AdamLean(Optimizer):
    """Adam in 0 to 2 bytes of state per weight of a large matrix instead of 8.

    A matrix whose sides are both at least ``least_side`` keeps of its second moment the mean over each row and over each column,
    whose product stands for the whole (Adafactor: Shazeer & Stern 2018, arXiv 1804.04235, algorithm 4): exact where the squared
    gradients are of rank one. Its first moment is kept in bfloat16, and not at all when beta1 is 0. Unlike Adafactor, learning rate,
    bias corrections and epsilon are Adam's, and there is no clipping of updates. All other parameters are updated as Adam does.

    Arithmetic is float32, in chunks; rounding is to nearest, so that an update is a function of weights, state and gradient alone.
    bfloat16 holds 8 significant bits: a running mean of decay b follows in it only to within about 1 / 512 / (1 - b) of its value, 2% at
    0.9 and a fifth at 0.99.
    """

    def __init__(self, parameters, lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, least_side: int = 128):
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps, "least_side": least_side})

    def step(self, closure=None) -> None:
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self.update(parameter, group)

    @torch.no_grad()
    def update(self, parameter: Tensor, group: dict) -> None:
        """Update one parameter of ``group`` by its gradient; the order among parameters makes no difference."""
        state = self.state[parameter]
        if not state:
            state.update(_new_state(parameter, group))
        state["step"] += 1
        _update_factored(parameter, state, group) if "rows" in state else _update_whole(parameter, state, group)

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict) -> None:
        """As of any optimiser, but state keeps its own type: PyTorch would turn bfloat16 into the parameter's."""
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        self.state.clear()
        for index, entry in state_dict["state"].items():
            parameter = parameters[index]
            self.state[parameter] = {name: value if name == "step" else value.to(parameter.device) for name, value in entry.items()}
        for group, saved in zip(self.param_groups, state_dict["param_groups"], strict=True):
            group.update({name: value for name, value in saved.items() if name != "params"})


def _new_state(parameter: Tensor, group: dict) -> dict[str, Tensor]:
    """Zeros: "step", "moment" unless beta1 is 0, and "rows" and "columns" of a large matrix, or else the whole "second" moment."""
    state = {"step": torch.tensor(0.0)}
    large = parameter.dim() == 2 and min(parameter.shape) >= group["least_side"]
    if group["betas"][0]:
        state["moment"] = torch.zeros_like(parameter, dtype=torch.bfloat16 if large else None)
    if large:
        state["rows"], state["columns"] = parameter.new_zeros(parameter.shape[0]), parameter.new_zeros(parameter.shape[1])
    else:
        state["second"] = torch.zeros_like(parameter)
    return state


def _update_whole(parameter: Tensor, state: dict[str, Tensor], group: dict) -> None:
    """Adam."""
    (beta1, beta2), step = group["betas"], state["step"].item()
    direction = state["moment"].lerp_(parameter.grad, 1 - beta1) if beta1 else parameter.grad
    second = state["second"].mul_(beta2).addcmul_(parameter.grad, parameter.grad, value=1 - beta2)
    roots = (second / (1 - beta2**step)).sqrt_().add_(group["eps"])
    parameter.addcdiv_(direction, roots, value=-group["lr"] / (1 - beta1**step))


def _update_factored(weight: Tensor, state: dict[str, Tensor], group: dict) -> None:
    """Two passes over the gradient: the means of its squares, then the update."""
    (beta1, beta2), step, gradient = group["betas"], state["step"].item(), weight.grad
    rows, columns = state["rows"], state["columns"]
    height = max(1, CHUNK // len(columns))
    parts = [slice(start, start + height) for start in range(0, len(rows), height)]
    row_means, column_sums = torch.empty_like(rows), torch.zeros_like(columns)
    for part in parts:
        squares = gradient[part].square()
        row_means[part] = squares.mean(1)
        column_sums += squares.sum(0)
    rows.lerp_(row_means, 1 - beta2)
    columns.lerp_(column_sums / len(rows), 1 - beta2)
    # The second moment of weight (i, j) is rows_i columns_j / mean(rows), here as a product of roots.
    scale = rows.mean().clamp_min(torch.finfo(rows.dtype).tiny) * (1 - beta2**step)
    row_roots, column_roots = (rows / scale).sqrt_(), columns.sqrt()
    for part in parts:
        direction = gradient[part]
        if beta1:
            direction = state["moment"][part].float().lerp_(direction, 1 - beta1)
            state["moment"][part] = direction
        roots = torch.outer(row_roots[part], column_roots).add_(group["eps"])
        weight[part].addcdiv_(direction, roots, value=-group["lr"] / (1 - beta1**step))
