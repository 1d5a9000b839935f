"""One optimiser step: parts equal the whole, frozen means unchanged, randomness follows from (seed, step)."""

import copy

import pytest
import torch

from configs.schema import TrainConfig
from models.dcgan import DCGANConfig
from training.setup import build_task
from training.step import run_phase, to_float
from training.task import DataInfo, Noise
from utils import distributed

CPU = torch.device("cpu")


def settings(batch_size=4, seed=0, model=None, **more) -> TrainConfig:
    small = {"latent_dim": 6, "g_width": 4, "d_width": 4, "max_width": 8, "g_norm": "none", "d_norm": "none", "d_minibatch_std": False}
    return TrainConfig(height=16, width=16, batch_size=batch_size, seed=seed, precision="fp32",
                       model=DCGANConfig(**{**small, **(model or {})}), **more).check()


def raw(number=4, seed=0) -> dict[str, torch.Tensor]:
    video = torch.randint(0, 256, (number, 1, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    return {"video": video, "label": torch.zeros(number, dtype=torch.int64)}


def step_of(task, config, name, *, step=1, repeat=0, batch=None):
    phase = next(phase for phase in task.phases if phase.name == name)
    return run_phase(task, phase, batch or raw(config.batch_size), config, step=step, repeat=repeat, device=CPU, dtype=torch.float32)


def gradients(task, name) -> list[torch.Tensor]:
    phase = next(phase for phase in task.phases if phase.name == name)
    return [parameter.grad for parameter in phase.module.parameters()]


def state(net) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


def test_pixels_become_floats_between_minus_one_and_one():
    pixels = torch.tensor([0, 255, 51], dtype=torch.uint8).view(1, 1, 1, 1, 3)
    assert to_float(pixels, CPU).flatten().tolist() == pytest.approx([-1, 1, -0.6])
    video = raw(2)["video"].expand(2, 4, 16, 16, 3)
    assert to_float(video, CPU).shape == (2, 3, 4, 16, 16)
    assert torch.equal(to_float(video, CPU)[1, 2, 3], video[1, 3, :, :, 2] / 127.5 - 1)


@pytest.mark.parametrize("phase", ["d", "g"])
@pytest.mark.parametrize("more", [
    {"loss": "bce"}, {"loss": "hinge"},
    {"loss": "rpgan", "r1": 1.0, "r2": 0.5, "augment": "color,translation,cutout", "augment_p": 0.5, "flip": True},
], ids=lambda more: more["loss"])
def test_a_batch_in_parts_is_the_whole_batch(phase, more):
    results = []
    for parts in (1, 2, 4):
        config = settings(accumulate=parts, **more)
        task = build_task(config, DataInfo())
        values = step_of(task, config, phase)
        results.append((values["loss"], gradients(task, phase), values["grad_norm"]))
    for loss, found, norm in results[1:]:
        torch.testing.assert_close(loss, results[0][0], atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(norm, results[0][2], atol=1e-6, rtol=1e-5)
        for one, other in zip(found, results[0][1]):
            torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("phase, changed", [("d", "discriminator"), ("g", "generator")])
@pytest.mark.parametrize("model", [{}, {"g_norm": "batch", "d_norm": "batch"}, {"d_norm": "spectral"}], ids=["plain", "batch", "spectral"])
def test_only_the_module_of_the_phase_changes(phase, changed, model):
    config = settings(model=model, r1=1.0)
    task = build_task(config, DataInfo())
    before = {name: state(net) for name, net in task.nets.items()}
    step_of(task, config, phase)
    for name, net in task.nets.items():
        differing = {key for key, value in state(net).items() if not torch.equal(value, before[name][key])}
        if name != changed:
            assert not differing
            assert all(parameter.grad is None for parameter in net.parameters())
        else:
            assert {key for key, _ in net.named_parameters()} <= differing


@pytest.mark.parametrize("phase", ["d", "g"])
def test_losses_follow_from_seed_and_step_alone(phase):
    def run(step, seed=0, repeat=0, disturb=0):
        config = settings(seed=seed, augment="color,translation,cutout", flip=True, loss="rpgan", model={"d_dropout": 0.5})
        task = build_task(settings(model={"d_dropout": 0.5}, augment="color,translation,cutout"), DataInfo())
        torch.manual_seed(disturb)
        torch.rand(disturb)
        return step_of(task, config, phase, step=step, repeat=repeat)["loss"].item()
    assert run(5) == run(5, disturb=7)
    assert len({run(5), run(6), run(5, seed=1), run(5, repeat=1)}) == 4


def test_initial_weights_follow_from_the_seed_and_leave_torchs_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first = build_task(settings(seed=1), DataInfo())
    assert torch.equal(torch.rand(2), expected)
    again, other = build_task(settings(seed=1), DataInfo()), build_task(settings(seed=2), DataInfo())
    weight = lambda task: task.nets["generator"].project.weight
    assert torch.equal(weight(first), weight(again)) and not torch.equal(weight(first), weight(other))


def test_clipping_bounds_the_step_and_reports_the_norm_before_it():
    config, clipped = settings(), settings(clip_grad=1e-3)
    tasks = [build_task(each, DataInfo()) for each in (config, clipped)]
    norms = [step_of(task, each, "d")["grad_norm"] for task, each in zip(tasks, (config, clipped))]
    assert norms[0] == norms[1] > 1e-2
    total = torch.cat([gradient.flatten() for gradient in gradients(tasks[1], "d")]).norm()
    assert total.item() == pytest.approx(1e-3, rel=1e-3)


def test_flipped_clips_are_mirrored_whole_and_about_every_other():
    config = settings(batch_size=64, flip=True)
    task = build_task(config, DataInfo())
    seen = []
    task.losses = lambda name, batch: (seen.append(batch.video), {"loss": sum(p.sum() for p in task.nets["discriminator"].parameters())})[1]
    batch = raw(64)
    step_of(task, config, "d", batch=batch)
    plain = to_float(batch["video"], CPU)
    same = (seen[0] == plain).flatten(1).all(1)
    mirrored = (seen[0] == plain.flip(-1)).flatten(1).all(1)
    assert (same | mirrored).all() and 16 < mirrored.sum() < 48


def test_rows_of_the_processes_make_up_the_whole():
    keys = (7, 3, "d", 0)
    whole = Noise(keys, slice(0, 6), 6, CPU)
    parts = [Noise(keys, slice(start, start + 2), 6, CPU) for start in (0, 2, 4)]
    for kind in ("normal", "uniform"):
        assert torch.equal(torch.cat([getattr(part, kind)("latent", 5) for part in parts]), getattr(whole, kind)("latent", 5))
    assert not torch.equal(whole.normal("latent", 5), whole.normal("other", 5))
    assert not torch.equal(whole.normal("latent", 5), Noise((7, 4, "d", 0), slice(0, 6), 6, CPU).normal("latent", 5))
    assert len({tuple(row.tolist()) for row in whole.normal("latent", 5)}) == 6
    assert distributed.local_rows(6) == slice(0, 6)


def test_noise_has_the_distribution_it_is_named_after():
    noise = Noise((0, 1, "d", 0), slice(0, 1000), 1000, CPU)
    normal, uniform = noise.normal("a", 50), noise.uniform("b", 50)
    assert abs(normal.mean()) < 0.02 and normal.std().item() == pytest.approx(1, abs=0.02)
    assert 0 <= uniform.min() and uniform.max() < 1 and uniform.mean().item() == pytest.approx(0.5, abs=0.01)


def test_a_lazy_penalty_weighs_as_much_in_the_long_run():
    always, lazy = settings(r1=2.0), settings(r1=2.0, penalty_every=4)
    none = settings()
    def loss(config, step):
        return step_of(build_task(config, DataInfo()), config, "d", step=step)["loss"].item()
    extra_always, extra_lazy = loss(always, 4) - loss(none, 4), loss(lazy, 4) - loss(none, 4)
    assert extra_always > 0 and extra_lazy == pytest.approx(4 * extra_always, rel=1e-3)
    assert loss(lazy, 5) == loss(none, 5)


def test_accumulated_values_are_means_not_the_last_part():
    config = settings(accumulate=4)
    task = build_task(config, DataInfo())
    whole = copy.deepcopy(task)
    parts = step_of(task, config, "d")
    one = step_of(whole, settings(), "d")
    for name in ("real", "fake", "accuracy"):
        torch.testing.assert_close(parts[name], one[name], atol=1e-5, rtol=1e-5)
