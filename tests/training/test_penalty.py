"""The compiled penalty equals the plain one, and gives way where it cannot."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from configs.schema import TrainConfig
from models.hrvgan_parts import HRVGANConfig
from models.layers import BatchNorm
from training import penalty as module
from training.losses import gradient_penalty, lipschitz_penalty, squared_slopes
from training.penalty import CompiledSlopes
from training.setup import build_task
from training.task import Batch, DataInfo, Noise

CPU = torch.device("cpu")


def settings(**more) -> TrainConfig:
    model = HRVGANConfig(latent_dim=4, class_dim=2, g_width=2, d_width=8, max_width=16, depth=1, time_doublings=1,
                         d_norm="group")
    return TrainConfig(family="hrvgan", height=8, width=8, frames=2, batch_size=4, precision="fp32", model=model, share_fakes=False, **more)


def task_of(**more):
    return build_task(settings(**more), DataInfo(["a", "b"]))


def batch(step: int = 1) -> Batch:
    video = torch.rand(4, 3, 2, 8, 8, generator=torch.Generator().manual_seed(step)) * 2 - 1
    return Batch(video, torch.tensor([0, 1, 0, 1]), Noise((0, step, "d", 0), slice(0, 4), 4, CPU), step)


def gradients(task, losses) -> dict[str, torch.Tensor]:
    critic = task.nets["discriminator"]
    for parameter in critic.parameters():
        parameter.grad = None
    losses["loss"].backward()
    return {name: parameter.grad for name, parameter in critic.named_parameters()}


def compiler_works() -> bool:
    try:
        return torch.compile(lambda x: x.sin().cos(), fullgraph=True)(torch.ones(2)).isfinite().all().item()
    except Exception:  # noqa: BLE001  whatever is missing
        return False


def test_compiled_and_plain_penalties_agree_in_a_critic_with_labels(capsys):
    """Residual blocks, group norm, minibatch deviation and a projection of the class."""
    if not compiler_works():
        pytest.skip("nothing compiles on this machine")
    plain, compiled = task_of(loss="wgan_gp"), task_of(loss="wgan_gp", compile_penalty=True)
    for step in (1, 2):
        values, ours = plain.losses("d", batch(step)), compiled.losses("d", batch(step))
        assert compiled.compiled_slopes.works, capsys.readouterr().out
        assert ours["gp"].item() == pytest.approx(values["gp"].item(), rel=1e-5)
        expected = gradients(plain, values)
        for name, found in gradients(compiled, ours).items():
            scale = expected[name].abs().max().item()
            assert (found - expected[name]).abs().max().item() <= 1e-5 * max(scale, 0.1), name
    assert capsys.readouterr().out == ""


def uncompiled(monkeypatch):
    """torch.compile as a function that hands back what it is given: what is compiled, without the seconds that takes."""
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)


def test_what_is_compiled_is_the_penalty(monkeypatch):
    uncompiled(monkeypatch)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv3d(3, 4, 3), nn.GroupNorm(2, 4), nn.LeakyReLU(0.2), nn.Flatten(), nn.LazyLinear(1), nn.Flatten(0))
    real, fake, where = torch.randn(3, 3, 3, 5, 5), torch.randn(3, 3, 3, 5, 5), torch.rand(3)
    net(real)
    slopes = CompiledSlopes(net)
    for penalty in (lambda how: gradient_penalty(net, real, how), lambda how: lipschitz_penalty(net, real, fake, where, how)):
        expected, found = penalty(squared_slopes), penalty(lambda discriminator, video: slopes(discriminator, video, None))
        assert slopes.works
        torch.testing.assert_close(found, expected)
        for a, b in zip(*(torch.autograd.grad(value, list(net.parameters()), allow_unused=True, materialize_grads=True)
                          for value in (found, expected))):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_a_penalty_that_lost_its_gradient_is_found_out(monkeypatch, capsys):
    """What torch before 2.13 did without a word: the value was right, the gradient of the penalty was gone."""
    uncompiled(monkeypatch)
    kept = CompiledSlopes._slopes

    def lossy(self, parameters, *rest):
        half = {name: value.detach() + 0.5 * (value - value.detach()) for name, value in parameters.items()}
        return kept(self, half, *rest)
    monkeypatch.setattr(CompiledSlopes, "_slopes", lossy)
    check_fallback(capsys, "differs from the plain one by 5.0e-01")


def test_without_a_compiler_the_plain_penalty_takes_over(monkeypatch, capsys):
    def no_compiler(function, **options):
        def fails(*arguments):
            raise RuntimeError("no C++ compiler found\nand much more")
        return fails
    monkeypatch.setattr(torch, "compile", no_compiler)
    check_fallback(capsys, "no C++ compiler found)")


@pytest.mark.parametrize("wrong, reason", [(lambda slopes: 3 * slopes, "in reduced precision it is"),
                                           (lambda slopes: slopes.missing, "has no attribute 'missing'")])
def test_what_goes_wrong_in_the_precision_of_training_alone_is_found_out(monkeypatch, capsys, wrong, reason):
    uncompiled(monkeypatch)
    kept = CompiledSlopes._slopes
    monkeypatch.setattr(CompiledSlopes, "_slopes", lambda self, *rest: wrong(kept(self, *rest)) if torch.is_autocast_enabled("cpu")
                        else kept(self, *rest))
    with torch.autocast("cpu", torch.bfloat16):
        check_fallback(capsys, reason)


def test_in_bfloat16_the_compiled_penalty_is_as_exact_as_the_plain_one(capsys):
    if not compiler_works():
        pytest.skip("nothing compiles on this machine")
    task, exact = task_of(r1=1.0, compile_penalty=True), task_of(r1=1.0)
    with torch.autocast("cpu", torch.bfloat16):
        found = task.losses("d", batch())["r1"]
    assert task.compiled_slopes.works, capsys.readouterr().out
    assert found.item() == pytest.approx(exact.losses("d", batch())["r1"].item(), rel=0.1)


@pytest.mark.parametrize("part", ["value", "one gradient"])
def test_a_penalty_that_is_no_number_is_found_out(monkeypatch, capsys, part):
    uncompiled(monkeypatch)
    kept = CompiledSlopes._slopes

    def broken(self, parameters, *rest):
        slopes = kept(self, parameters, *rest)
        # The slope of a root at zero is infinite, and times zero no number.
        return slopes * float("nan") if part == "value" else slopes + (0 * list(parameters.values())[-1].sum()).sqrt()
    monkeypatch.setattr(CompiledSlopes, "_slopes", broken)
    check_fallback(capsys, "differs from the plain one by nan")


def test_the_check_finds_the_same_whatever_has_been_learnt_so_far(monkeypatch):
    """A continued run has to go on with the penalty that it had."""
    uncompiled(monkeypatch)
    found, kept = [], module._difference
    monkeypatch.setattr(module, "_difference", lambda *values: found.append(values) or kept(*values))
    for seed in (0, 1):
        task = task_of(r1=1.0, compile_penalty=True)
        with torch.no_grad():
            for weight in task.nets["discriminator"].parameters():
                weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed)))
        step = replace(batch(seed), label=batch().label.roll(seed))
        task.losses("d", step)
    (first, _), (second, _) = found
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def check_fallback(capsys, reason: str) -> None:
    plain, ours = task_of(r1=1.0), task_of(r1=1.0, compile_penalty=True)
    for step in (1, 2):
        expected, found = plain.losses("d", batch(step)), ours.losses("d", batch(step))
        assert torch.equal(expected["r1"], found["r1"]) and torch.equal(expected["loss"], found["loss"])
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and said.startswith("--compile_penalty: not compiled") and reason in said
    assert ours.compiled_slopes.works is False


def test_all_clips_come_to_what_is_compiled_in_one_layout_and_type(monkeypatch):
    """For others it would be compiled again, and unchecked: real clips, those moved about, generated ones in bfloat16."""
    uncompiled(monkeypatch)
    seen, kept = set(), CompiledSlopes._slopes
    monkeypatch.setattr(CompiledSlopes, "_slopes", lambda self, weights, buffers, video, label:
                        seen.add((video.dtype, video.stride())) or kept(self, weights, buffers, video, label))
    task = task_of(r1=1.0, r2=1.0, augment="translation", compile_penalty=True)
    with torch.autocast("cpu", torch.bfloat16):
        task.losses("d", replace(batch(), video=batch().video.contiguous(memory_format=torch.channels_last_3d)))
    assert task.compiled_slopes.works and len(seen) == 1


def test_without_a_penalty_nothing_is_compiled(monkeypatch):
    uncompiled(monkeypatch)
    task = task_of(compile_penalty=True)
    task.losses("d", batch())
    assert task.compiled_slopes is None


def growing(**more):
    config = settings(r1=1.0, compile_penalty=True, grow_from=1, grow_steps=4, **more)
    config.model.depth = 2
    return build_task(config, DataInfo(["a", "b"]))


def test_the_check_leaves_statistics_and_random_numbers_alone(monkeypatch):
    uncompiled(monkeypatch)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.LayerNorm(3), nn.Linear(3, 1), nn.Flatten(0))
    before, state = {name: value.clone() for name, value in net.state_dict().items()}, torch.get_rng_state()
    CompiledSlopes(net)(net, torch.randn(2, 3, 1, 2, 2, generator=torch.Generator().manual_seed(0)), None)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), BatchNorm(3), nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3))],
                         ids=["dropout", "batch norm", "spectral norm"])
def test_networks_that_a_call_changes_are_left_alone(monkeypatch, capsys, layer):
    uncompiled(monkeypatch)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 3), layer, nn.Linear(3, 1), nn.Flatten(0))
    video, state = torch.randn(2, 3, 1, 2, 2), torch.get_rng_state()
    slopes, calls = CompiledSlopes(net), []
    net.register_forward_hook(lambda *_: calls.append(1))
    slopes(net, video, None)
    assert slopes.works is False and len(calls) == 1, "only what was asked for, no trial"
    assert "dropout, batch or spectral normalisation" in capsys.readouterr().out
    assert torch.equal(torch.get_rng_state(), state) or isinstance(layer, nn.Dropout)


def test_it_is_checked_at_the_first_step_whenever_the_first_penalty_comes(monkeypatch):
    """At full size, though growing networks do not begin there."""
    uncompiled(monkeypatch)
    task = growing(penalty_every=4)
    seen, kept = [], CompiledSlopes._verdict
    monkeypatch.setattr(CompiledSlopes, "_verdict", lambda self, *rest: seen.append((self._net.level, rest[2].shape)) or kept(self, *rest))
    task.losses("d", batch(1))
    assert task.compiled_slopes.works and set(seen) == {(0, (4, 3, 2, 8, 8))}
    assert task.nets["discriminator"].level == 1, "and then grows as it would have"
    seen.clear()
    task.losses("d", batch(2))
    assert not seen


@pytest.mark.parametrize("step, compiled", [(1, False), (3, False), (5, True)])
def test_while_networks_grow_penalties_are_plain(monkeypatch, step, compiled):
    uncompiled(monkeypatch)
    monkeypatch.setattr(module.CompiledSlopes, "__call__",
                        lambda self, discriminator, video, label: squared_slopes(discriminator, video) * 0 + 7)
    losses = growing().losses("d", batch(step))
    assert (losses["r1"].item() == 7) == compiled
