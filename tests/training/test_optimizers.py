"""The lean optimiser beside PyTorch's Adam and Adafactor, where their results are known to agree, and through a whole training."""

import pytest
import torch
from torch import nn

from configs.schema import TrainConfig
from models.mlp_gan import MLPGANConfig
from tests.training.runner import interrupt, newest, outcome, pictures, steps_done
from training import checkpoint
from training.optimizers import CHUNK, AdamLean, make_optimizer
from training.setup import build_task
from training.step import run_phase
from training.task import DataInfo

CPU = torch.device("cpu")
MLP = ["--family", "mlp_gan", "--model.widths", "[130,140]", "--optimizer", "adam_lean", "--batch_size", "8"]


def twins(shape, seed=0):
    """Two parameters of the same values, away from zero."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return nn.Parameter(values.clone()), nn.Parameter(values.clone())


def rank_one(shape, step):
    """A gradient whose squares are of rank one, up to signs and a factor that vary from step to step."""
    generator = torch.Generator().manual_seed(1000 + step)
    fixed = torch.Generator().manual_seed(7)
    size = torch.outer(torch.rand(shape[0], generator=fixed) + 0.1, torch.rand(shape[1], generator=fixed) + 0.1)
    return size * torch.randint(0, 2, shape, generator=generator).mul(2).sub(1) * (torch.rand((), generator=generator) + 0.5)


@pytest.mark.parametrize("betas", [(0.0, 0.99), (0.5, 0.999), (0.9, 0.99)])
@pytest.mark.parametrize("shape", [(7,), (3, 5, 4), (127, 300), (40, 50)])
def test_small_parameters_are_updated_as_adam_does(shape, betas):
    ours, theirs = twins(shape)
    optimizers = AdamLean([ours], lr=0.01, betas=betas), torch.optim.Adam([theirs], lr=0.01, betas=betas)
    for step in range(20):
        ours.grad = torch.randn(shape, generator=torch.Generator().manual_seed(step))
        theirs.grad = ours.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("beta1", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(128, 128), (200, 150), (130, CHUNK // 128)])
def test_adam_where_squared_gradients_are_of_rank_one(shape, beta1):
    ours, theirs = twins(shape)
    optimizers = AdamLean([ours], lr=0.01, betas=(beta1, 0.99)), torch.optim.Adam([theirs], lr=0.01, betas=(beta1, 0.99))
    start = ours.detach().clone()
    for step in range(8):
        ours.grad = rank_one(shape, step)
        theirs.grad = ours.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    moved = (theirs - start).abs().mean()
    # Of 8 bits in the first moment come relative errors of 1/512 a step, over the 1 / (1 - beta1) steps that it remembers.
    allowed = 1e-5 if beta1 == 0 else 1 / 512 / (1 - beta1)
    assert moved > 0.005 and (ours - theirs).abs().mean() < allowed * moved


@pytest.mark.parametrize("shape", [(128, 129), (300, 131)])
def test_adafactor_where_its_own_rules_are_taken_out(shape):
    """With a decay of 1/t both average the squares over all steps alike; what is left differs by the factor that Adafactor
    multiplies the learning rate by, the root mean square of the weights."""
    ours, theirs = twins(shape)
    lean = AdamLean([ours], lr=1.0, betas=(0.0, 1 - 1e-7))
    factor = torch.optim.Adafactor([theirs], lr=1e-3, beta2_decay=-1.0, eps=(1e-30, 1e-3), d=1e9)
    for step in range(6):
        with torch.no_grad():
            ours.copy_(theirs)
        lean.param_groups[0]["lr"] = 1e-3 * theirs.detach().square().mean().sqrt().item()
        ours.grad = torch.randn(shape, generator=torch.Generator().manual_seed(step)) * (step + 1)
        theirs.grad = ours.grad.clone()
        before = theirs.detach().clone()
        lean.step()
        factor.step()
        torch.testing.assert_close(ours - before, theirs - before, rtol=1e-3, atol=2e-7)


def test_what_is_kept_of_each_parameter():
    large, small, vector = (nn.Parameter(torch.ones(shape)) for shape in ((256, 128), (256, 127), (300,)))
    for beta1, names in ((0.0, set()), (0.5, {"moment"})):
        optimizer = AdamLean([large, small, vector], lr=0.1, betas=(beta1, 0.9))
        for parameter in (large, small, vector):
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        assert optimizer.state[large].keys() == {"step", "rows", "columns"} | names
        assert optimizer.state[small].keys() == optimizer.state[vector].keys() == {"step", "second"} | names
        if beta1:
            assert optimizer.state[large]["moment"].dtype == torch.bfloat16 and optimizer.state[vector]["moment"].dtype == torch.float32
        held = sum(value.numel() * value.element_size() for value in optimizer.state[large].values())
        assert held == 4 + 4 * (256 + 128) + (2 * 256 * 128 if beta1 else 0)


def test_a_gradient_of_zeros_changes_nothing():
    weight = nn.Parameter(torch.ones(128, 128))
    for beta1 in (0.0, 0.5):
        optimizer = AdamLean([weight], lr=0.1, betas=(beta1, 0.9))
        for _ in range(3):
            weight.grad = torch.zeros_like(weight)
            optimizer.step()
        assert torch.equal(weight, torch.ones(128, 128))


def test_the_config_chooses():
    net = nn.Linear(2, 2)
    kinds = {"adam": torch.optim.Adam, "adam_lean": AdamLean, "rmsprop": torch.optim.RMSprop}
    for name, kind in kinds.items():
        optimizer = make_optimizer(TrainConfig(optimizer=name, beta1=0.25, beta2=0.75), net, 0.125)
        assert type(optimizer) is kind and optimizer.param_groups[0]["lr"] == 0.125
        if name == "rmsprop":
            assert optimizer.param_groups[0]["alpha"] == 0.75
        else:
            assert optimizer.param_groups[0]["betas"] == (0.25, 0.75)


def trained(steps: int, dtype=torch.float32, **settings):
    """A task after a few steps, and what the last step of each phase told."""
    config = TrainConfig(family="mlp_gan", height=16, width=16, batch_size=8, optimizer="adam_lean", r1=1.0,
                         **settings, model=MLPGANConfig(latent_dim=130, widths=[140, 150])).check()
    task = build_task(config, DataInfo())
    raw = {"video": torch.randint(0, 256, (8, 1, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)),
           "label": torch.zeros(8, dtype=torch.int64)}
    told = {}
    for step in range(1, steps + 1):
        for phase in task.phases:
            told[phase.name] = run_phase(task, phase, raw, config, step=step, repeat=0, device=CPU, dtype=dtype)
    return task, told


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("more", [{}, {"share_fakes": False, "beta1": 0.0}], ids=["shared", "apart"])
def test_updates_while_backward_equal_updates_after_it(dtype, more):
    """A clipping that never clips keeps the updates until after the backward pass."""
    while_, after = trained(4, dtype, **more), trained(4, dtype, **more, clip_grad=1e9)
    for name, net in while_[0].nets.items():
        for (key, value), other in zip(net.state_dict().items(), after[0].nets[name].state_dict().values()):
            assert torch.equal(value, other), f"{name}.{key}"
    for name in ("d", "g"):
        for key, value in while_[1][name].items():
            torch.testing.assert_close(value, after[1][name][key], rtol=1e-5, atol=1e-7)
    gradients = lambda task: [parameter.grad is not None for net in task.nets.values() for parameter in net.parameters()]
    assert not any(gradients(while_[0])) and any(gradients(after[0])) and not all(gradients(after[0]))


def test_gradients_are_freed_one_by_one():
    """At no time during the backward pass do all of a network's gradients exist."""
    config = TrainConfig(family="mlp_gan", height=16, width=16, batch_size=8, optimizer="adam_lean",
                         model=MLPGANConfig(widths=[20, 30, 40])).check()
    task = build_task(config, DataInfo())
    most = []
    for phase in task.phases:
        update = phase.optimizer.update
        parameters = list(phase.module.parameters())
        phase.optimizer.update = lambda parameter, group, update=update, parameters=parameters: (
            most.append(sum(each.grad is not None for each in parameters)), update(parameter, group))
    raw = {"video": torch.zeros(8, 1, 16, 16, 3, dtype=torch.uint8), "label": torch.zeros(8, dtype=torch.int64)}
    for phase in task.phases:
        run_phase(task, phase, raw, config, step=1, repeat=0, device=CPU, dtype=torch.float32)
    assert len(most) == sum(len(list(net.parameters())) for net in task.nets.values()) and set(most) == {1}


@pytest.mark.parametrize("settings",
                         [["--beta1", "0.5", "--ema", "0"], ["--beta1", "0", "--precision", "bf16", "--r1", "1", "--accumulate", "2"]],
                         ids=["moment", "no moment"])
def test_interrupted_equals_straight(runner, tmp_path, settings):
    command = [*MLP, "--steps", 40, *settings]
    runner.train("--out", tmp_path / "straight", *command)
    out = tmp_path / "run"
    interrupt(runner.start("--out", out, *command), out, after=5)
    interrupt(runner.start("--out", out, *command), out, after=steps_done(out) + 5)
    assert steps_done(out) < 40
    runner.train("--out", out, *command)
    ours, theirs = outcome(out), outcome(tmp_path / "straight")
    assert not [name for name in theirs if ours[name] != theirs[name]]
    assert pictures(out) == pictures(tmp_path / "straight")
    stored = checkpoint.read_tensors(newest(out), "optimizer")
    kinds = {name.rsplit(".", 1)[1]: stored[name].dtype for name in stored if name.startswith("g.0.")}
    assert kinds.keys() == {"step", "second"} | ({"moment"} if settings[1] == "0.5" else set())
    assert torch.bfloat16 in {stored[name].dtype for name in stored} or settings[1] == "0"
    assert len(checkpoint.read_tensors(newest(out), "ema")) == (0 if "--ema" in settings else len(
        [name for name in checkpoint.read_tensors(newest(out), "nets") if name.startswith("generator")]))


def test_the_state_keeps_its_own_types_when_loaded(tmp_path):
    weight = nn.Parameter(torch.ones(128, 128))
    optimizer, again = (AdamLean([weight], lr=0.1, betas=(0.5, 0.9)) for _ in range(2))
    weight.grad = torch.randn(128, 128)
    optimizer.step()
    path = checkpoint.save(tmp_path, "step_000001", {"optimizer": checkpoint.optimizer_tensors({"g": optimizer})}, {"step": 1}, 1)
    checkpoint.load_optimizers({"g": again}, checkpoint.read_tensors(path, "optimizer"))
    for name, value in optimizer.state[weight].items():
        assert again.state[weight][name].dtype == value.dtype and torch.equal(again.state[weight][name], value)
    again.load_state_dict({**again.state_dict(), "state": {}})  # what a checkpoint from before the first step holds
    assert not again.state
