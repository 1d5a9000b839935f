"""Progressive growing: when it grows, what fading means, that nothing is lost when it is interrupted."""

import re
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from configs.schema import TrainConfig
from models.dcgan import DCGANConfig
from models.growth import double, fade, halve, shrink
from models.hrvgan_parts import HRVGANConfig
from tests.training.runner import interrupt, newest, outcome, pictures, rows
from training import checkpoint
from training.growth import cut_short, grown_at, stage
from training.restore import load_sampler
from training.setup import build_task, prepare
from training.task import Batch, DataInfo, Request
from utils.errors import UserError

SMALL = {"latent_dim": 5, "g_width": 4, "d_width": 4, "max_width": 8}
FAMILIES = {"dcgan": {"frames": 1, "model": DCGANConfig(**SMALL)},
            "dcgan with mean": {"frames": 1, "model": DCGANConfig(**SMALL, g_mean=True)},
            "hrvgan": {"frames": 4, "model": HRVGANConfig(**SMALL, class_dim=3, time_doublings=1)}}


# The schedule

def at(step: int, **settings_) -> tuple[int, float]:
    return stage(TrainConfig(**settings_), step)


def test_the_schedule_by_hand():
    """Half of 8 steps at the lowest level; then doublings 8 apart, 4 of each fading."""
    levels = [at(step, grow_from=2, grow_steps=8, grow_fade=0.5) for step in range(1, 25)]
    fade_ = [0.2, 0.4, 0.6, 0.8]
    assert levels == [(2, 1)] * 4 + [(1, alpha) for alpha in fade_] + [(1, 1)] * 4 + [(0, alpha) for alpha in fade_] + [(0, 1)] * 8


@given(st.integers(0, 5), st.integers(1, 50), st.floats(0, 1), st.integers(1, 300))
def test_it_only_ever_grows(levels, steps, share, step):
    settings_ = {"grow_from": levels, "grow_steps": steps, "grow_fade": share}
    (level, alpha), (later, alpha_later) = at(step, **settings_), at(step + 1, **settings_)
    assert 0 <= level <= levels and 0 < alpha <= 1
    assert (later, -alpha_later) <= (level, -alpha)
    assert at((levels + 1) * steps + 1, **settings_) == (0, 1)


def test_without_growing_everything_is_full_size():
    assert at(1) == at(10**6) == (0, 1)


@given(st.integers(0, 5), st.integers(1, 50), st.floats(0, 1), st.integers(1, 300))
def test_a_run_that_ends_before_it_has_grown_is_told_what_would_do(levels, steps_each, share, steps):
    config = TrainConfig(grow_from=levels, grow_steps=steps_each, grow_fade=share)
    said = cut_short(config, steps, f"--steps {grown_at(config)}")
    assert bool(said) == (stage(config, steps) != (0, 1)) and "\n" not in said
    if said:
        enough, quicker = int(re.search(r"--steps (\d+) or more", said)[1]), re.search(r"--grow_steps (\d+) or less", said)
        assert stage(config, enough) == (0, 1) != stage(config, enough - 1)
        for number in range(1, steps_each + 1):
            fits = stage(replace(config, grow_steps=number), steps) == (0, 1)
            assert fits == (quicker is not None and number <= int(quicker[1]))


def test_it_is_told_in_the_units_of_the_flag_that_sets_the_length(tmp_path, capsys):
    """32 clips in batches of 2, of which two a step: 8 steps an epoch."""
    config = TrainConfig(data="synthetic:num_videos=4,frames=8", height=32, width=32, batch_size=2, d_repeats=2, epochs=2, grow_from=2,
                         grow_steps=10, workers=1, cache_dir=str(tmp_path), model=DCGANConfig(**SMALL))
    assert prepare(config).steps == 16
    assert capsys.readouterr().err.splitlines()[-1] == (
        "warning: --grow_from 2 --grow_steps 10: the last of 16 steps will be in its last fade; to grow fully, take --epochs 3 or "
        "more, or --grow_steps 7 or less")
    for enough in ({"epochs": 3}, {"grow_steps": 7}, {"grow_from": 0}):
        prepare(replace(config, **enough))
        assert "warning" not in capsys.readouterr().err
    prepare(replace(config, epochs=None, steps=12))
    assert ("12 steps will be at 16x16, not 32x32; to grow fully, take --steps 21 or more, or --grow_steps 5 or less"
            in capsys.readouterr().err)


# Real clips

def test_clips_are_shrunk_by_means_and_shown_by_squares():
    video = torch.arange(32.0).view(1, 1, 2, 4, 4)
    assert halve(video)[0, 0, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    assert double(halve(video))[0, 0, 1, 2:].tolist() == [[26.5, 26.5, 28.5, 28.5]] * 2
    torch.testing.assert_close(halve(double(video, 3), 3), video)
    torch.testing.assert_close(halve(video, 2), halve(halve(video)))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2), st.floats(0, 1))
def test_a_fading_clip_is_between_two_sizes(level, alpha):
    video = torch.rand(2, 3, 2, 16, 24)
    mixed = shrink(video, level, alpha)
    assert mixed.shape == (2, 3, 2, 16 >> level, 24 >> level)
    low, high = double(shrink(video, level + 1, 1.0)), shrink(video, level, 1.0)
    torch.testing.assert_close(mixed, (1 - alpha) * low + alpha * high)
    torch.testing.assert_close(halve(mixed), shrink(video, level + 1, 1.0))  # coarse content does not fade


# Networks

def task_of(family: str, levels: int = 2):
    config = TrainConfig(family=family.split()[0], height=32, width=48, grow_from=levels, grow_steps=4, **FAMILIES[family])
    torch.manual_seed(0)
    return build_task(config, DataInfo(["a", "b"], mean=lambda: torch.linspace(-1, 1, 3 * 32 * 48).view(3, 32, 48)))


def made_at(generator, level, alpha, latents, labels):
    generator.set_growth(level, alpha)
    return generator(latents, labels) if getattr(generator, "takes_labels", False) else generator(latents)


def test_real_clips_fade_with_the_networks():
    task, seen, video = task_of("dcgan"), [], torch.rand(2, 3, 1, 32, 48)
    task._discriminator = lambda batch: seen.append(batch.video) or {}
    for step in (1, 3, 7, 11):
        task.losses("d", Batch(video, torch.zeros(2, dtype=torch.int64), None, step))
        torch.testing.assert_close(seen[-1], shrink(video, *stage(task.config, step)))
    assert len({clips.shape for clips in seen}) == 3


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fade_leads_from_the_level_below_to_the_level_alone(family):
    nets = task_of(family).nets
    for net in nets.values():
        net.eval()
    latents, labels = torch.randn(4, 5), torch.tensor([0, 1, 1, 0])
    for level in (0, 1):
        low, high = made_at(nets["generator"], level + 1, 1.0, latents, labels), made_at(nets["generator"], level, 1.0, latents, labels)
        assert high.shape[-2:] == (32 >> level, 48 >> level)
        torch.testing.assert_close(made_at(nets["generator"], level, 0.0, latents, labels), double(low))
        torch.testing.assert_close(made_at(nets["generator"], level, 0.25, latents, labels), fade(double(low), high, 0.25))
        verdicts = {}
        for at_level, alpha, video in ((level + 1, 1.0, halve(high)), (level, 0.0, high), (level, 1.0, high), (level, 0.999999, high)):
            verdicts[at_level, alpha] = made_at(nets["discriminator"], at_level, alpha, video.detach(), labels)
        torch.testing.assert_close(verdicts[level, 0.0], verdicts[level + 1, 1.0])
        torch.testing.assert_close(verdicts[level, 0.999999], verdicts[level, 1.0], rtol=1e-3, atol=1e-4)
        assert not torch.allclose(verdicts[level, 0.0], verdicts[level, 1.0])


@pytest.mark.parametrize("family", FAMILIES)
def test_samples_have_the_full_size_at_every_step(family):
    task = task_of(family)
    request = Request(torch.randn(2, 5), torch.tensor([0, 1]))
    with torch.no_grad():
        for step, square in ((1, 4), (9, 1), (4, 2), (6, 2), (1, 4)):
            task.step = step
            clips = task.sample(task.nets, request)
            assert clips.shape[-2:] == (32, 48)
            assert torch.equal(clips, double(clips[..., ::square, ::square], square.bit_length() - 1))


def test_names_do_not_depend_on_how_far_a_network_has_grown():
    task = task_of("hrvgan")
    names = {name: list(net.state_dict()) for name, net in task.nets.items()}
    for step in (1, 5, 100):
        task.step = step
        task._grow(task.nets)
        assert {name: list(net.state_dict()) for name, net in task.nets.items()} == names
    assert "to_rgb.2.conv.weight" in names["generator"] and "from_rgb.2.weight" in names["discriminator"]


def test_a_network_that_does_not_grow_has_no_layers_for_it():
    assert not [name for net in task_of("dcgan", 0).nets.values() for name in net.state_dict() if "rgb" in name]


@pytest.mark.parametrize("family, most", [("dcgan", 2), ("hrvgan", 2)])
def test_more_levels_than_there_are_is_refused(family, most):
    task_of(family, most)
    with pytest.raises(UserError, match=f"--grow_from {most + 1}: .* at most {most} "):
        task_of(family, most + 1)


SIDES = st.sampled_from([4, 8, 12, 16, 24, 32, 48])
REMEDY = r"--grow_from (\d+): at --height (\d+) --width (\d+) (\w+) can start at most \d+ halvings below the full frame; take (.*)"


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["dcgan", "hrvgan", "sprites"]), SIDES, SIDES, st.sampled_from([1, 4, 6, 8, 16]), st.integers(1, 3),
       st.sampled_from([None, 1, 2]))
@example("hrvgan", 32, 32, 16, 2, None)  # time doubles once more in the next larger frame
@example("sprites", 32, 32, 16, 3, None)  # two networks of different needs
def test_what_the_error_says_instead_works(family, height, width, frames, levels, depth):
    sizes = {"grow_from": levels, "height": height, "width": width, "frames": 1 if family == "dcgan" else frames}
    settings_ = {"g_depth" if family == "dcgan" else "depth": depth, **({"sprites": 2} if family == "sprites" else {})}

    def built(model=(), **other) -> str:
        kind = DCGANConfig if family == "dcgan" else HRVGANConfig
        config = TrainConfig(family="dcgan" if family == "dcgan" else "hrvgan", **{**sizes, **other}, batch_size=4,
                             model=kind(**SMALL, **settings_, **dict(model)))
        try:
            with torch.device("meta"):
                build_task(config, DataInfo(), torch.device("meta"))
            return ""
        except UserError as error:
            return str(error)

    said = re.fullmatch(REMEDY, built())
    assume(said)
    remedies = [part.split() for part in said[5].split(", or ")]
    assert len(remedies) >= 1
    for flags in remedies:
        if flags[0] != "a":  # a larger --model.depth, which another size may have to go with
            given_ = {name.removeprefix("--"): int(value) for name, value in zip(flags[::2], flags[1::2])}
            inner = {name.removeprefix("model."): given_.pop(name) for name in list(given_) if name.startswith("model.")}
            assert built(inner, **given_) == "", flags


# Runs

GROWING = ["--steps", 26, "--grow_from", 2, "--grow_steps", 10, "--precision", "fp32", "--r1", 1]


@pytest.fixture(scope="module")
def straight(runner, tmp_path_factory):
    out = tmp_path_factory.mktemp("straight") / "run"
    runner.train("--out", out, *GROWING, "--sample_every", 9)
    return out


def test_a_run_interrupted_while_it_fades_ends_as_if_it_had_not_been(runner, straight, tmp_path):
    out = tmp_path / "run"
    for stop in (8, 17):  # checkpoints in the middle of both fades: steps 6 to 10, 16 to 20
        runner.train("--out", out, *GROWING, "--sample_every", 9, "--steps", stop)
        assert stage(load_sampler(out, device="cpu").config, stop)[1] < 1
    runner.train("--out", out, *GROWING, "--sample_every", 9)
    ours, theirs = outcome(out), outcome(straight)
    assert {name for name in theirs if ours[name] != theirs[name]} == set()
    for name in ("step_000009.png", "step_000018.png", "step_000026.png"):
        assert pictures(out)[name] == pictures(straight)[name]


def test_clips_interrupted_while_they_fade_end_as_if_they_had_not_been(runner, tmp_path):
    command = ["--family", "hrvgan", "--frames", 4, "--model.g_width", 4, "--model.d_width", 4, "--model.max_width", 8,
               "--model.time_doublings", 1, "--grow_from", 1, "--grow_steps", 4, "--precision", "fp32", "--class_ce", 1]
    runner.train("--out", tmp_path / "straight", *command, "--steps", 9)
    runner.train("--out", tmp_path / "broken", *command, "--steps", 3)
    assert [stage(load_sampler(tmp_path / "broken", device="cpu").config, step)[1] < 1 for step in (3, 4)] == [True, True]
    runner.train("--out", tmp_path / "broken", *command, "--steps", 9)
    assert outcome(tmp_path / "broken") == outcome(tmp_path / "straight")


def test_a_run_interrupted_anywhere_ends_the_same(runner, straight, tmp_path):
    out = tmp_path / "run"
    interrupt(runner.start("--out", out, *GROWING, "--sample_every", 9), out, after=5)
    runner.train("--out", out, *GROWING, "--sample_every", 9)
    assert outcome(out) == outcome(straight)


def test_a_checkpoint_knows_how_far_it_has_grown(runner, tmp_path):
    """All parameters are in it, averages too; those not reached yet stand as they began and have no moments."""
    out = tmp_path / "run"
    runner.train("--out", out, *GROWING, "--steps", 3)
    tensors, moments = checkpoint.read_tensors(newest(out), "nets"), checkpoint.read_tensors(newest(out), "optimizer")
    sampler = load_sampler(out, device="cpu", precision="fp32")
    fresh = dict(build_task(sampler.config, DataInfo(sampler.classes)).nets["generator"].named_parameters())
    names = list(fresh)
    for index, name in enumerate(names):
        moved = not torch.equal(fresh[name], tensors[f"generator.{name}"])
        assert moved == (f"g.{index}.exp_avg" in moments), name
    assert f"g.{names.index('to_rgb.2.weight')}.exp_avg" in moments and f"g.{names.index('to_rgb.1.weight')}.exp_avg" not in moments
    averaged = checkpoint.read_tensors(newest(out), "ema")
    assert set(averaged) == {name for name in tensors if name.startswith("generator.")}
    assert not torch.equal(averaged["generator.to_rgb.2.weight"], tensors["generator.to_rgb.2.weight"])
    frame = sampler.sample(sampler.latents(1, 0))[0, :, 0]
    assert torch.equal(frame, frame[:, ::4, ::4].repeat_interleave(4, 1).repeat_interleave(4, 2))
    assert len(rows(out)) == 3


def test_a_family_that_does_not_grow_says_so(monkeypatch):
    from functools import partial

    from training import registry
    from training.gan import GANTask

    nets = lambda model, shape: {"generator": torch.nn.Linear(1, 1), "discriminator": torch.nn.Linear(1, 1)}
    monkeypatch.setitem(registry.FAMILIES, "dcgan", registry.Family(DCGANConfig, partial(GANTask, build=nets)))
    with pytest.raises(UserError, match="--grow_from 1: dcgan does not grow"):
        build_task(TrainConfig(grow_from=1, model=DCGANConfig()), DataInfo())
