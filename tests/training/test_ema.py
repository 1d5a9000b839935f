"""Averaged weights in closed form."""

import pytest
import torch
from torch import nn

from models.layers import BatchNorm
from training.ema import Averaged


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.norm = BatchNorm(2)
        self.register_buffer("count", torch.tensor(0))


def set_all(net: Net, value: float) -> None:
    with torch.no_grad():
        for tensor in [*net.parameters(), *net.buffers()]:
            tensor.fill_(value)


def floats(net: nn.Module) -> list[torch.Tensor]:
    return [tensor for tensor in [*net.parameters(), *net.buffers()] if tensor.is_floating_point()]


@pytest.mark.parametrize("decay", [0.0, 0.2, 0.5, 0.999])
def test_average_in_closed_form_with_warm_up(decay):
    net = Net()
    set_all(net, 5)
    average = Averaged({"g": net}, decay)
    expected = 5.0
    for step, value in enumerate((1.0, -2.0, 4.0, 8.0), start=1):
        set_all(net, value)
        average.update({"g": net}, step)
        warm = min(decay, step / (step + 9))
        expected = warm * expected + (1 - warm) * value
        for tensor in floats(average.nets["g"]):  # parameters and running statistics alike
            torch.testing.assert_close(tensor, torch.full_like(tensor, expected))
        assert average.nets["g"].count == int(value)  # a counter is copied, not averaged
    assert len(floats(average.nets["g"])) == 5


def test_after_warm_up_the_decay_is_the_one_asked_for():
    net = Net()
    average = Averaged({"g": net}, 0.9)
    set_all(average.nets["g"], 0)
    set_all(net, 1)
    average.update({"g": net}, 10**6)
    torch.testing.assert_close(average.nets["g"].weight, torch.full((3,), 0.1))


def test_the_copy_is_apart_frozen_and_in_evaluation():
    net = Net().train()
    average = Averaged({"g": net}, 0.9)
    copied = average.nets["g"]
    assert not copied.training and not any(parameter.requires_grad for parameter in copied.parameters())
    assert net.training and all(parameter.requires_grad for parameter in net.parameters())
    set_all(net, 7)
    assert torch.equal(copied.weight, torch.ones(3))
    average.update({"g": net}, 5)
    assert torch.equal(net.weight, torch.full((3,), 7.0))
