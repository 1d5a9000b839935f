"""Keyframes: which frames are learnt from, runs from beginning to end, exact resume, the falling learning rate."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from configs.cli import parse
from configs.schema import TrainConfig, differences
from data.synthetic import draw_factors, render
from models.keyframes import Autoencoder, KeyframesConfig
from tests.conftest import ROOT
from tests.training.runner import QUICK, interrupt, newest, outcome, rows
from training.keyframe_task import KeyframeTask, cropped, mirrored, repeats, stretches, told_apart
from training.registry import MODELS
from training.restore import load_sampler
from training.task import Batch, DataInfo, Noise, Request
from utils.errors import UserError

CPU = torch.device("cpu")
TINY_NETS = {"ae_width": 8, "ae_downsampling": 4, "ae_channels": 4, "flow_width": 4, "flow_levels": 2}


def numbered(batch_size: int = 64, frames: int = 6, height: int = 5, width: int = 7) -> torch.Tensor:
    """Clips whose red tells the frame, whose green the row, whose blue the column."""
    video = torch.zeros(batch_size, 3, frames, height, width)
    video[:, 0] = torch.arange(frames).view(1, -1, 1, 1)
    video[:, 1] = torch.arange(height).view(1, 1, -1, 1)
    video[:, 2] = torch.arange(width).view(1, 1, 1, -1)
    return video


def batch(video: torch.Tensor, rows_: slice | None = None, step: int = 1) -> Batch:
    size, rows_ = len(video), rows_ or slice(0, len(video))
    return Batch(video[rows_], torch.zeros(size, dtype=torch.int64)[rows_], Noise((0, step, "flow", 0), rows_, size, CPU), step)


def config(**model) -> TrainConfig:
    return TrainConfig(family="keyframes", frames=4, height=16, width=16, batch_size=4, model=KeyframesConfig(**{**TINY_NETS, **model}))


def test_the_middle_is_a_real_frame_at_its_true_time():
    first, middle, second, time = stretches(batch(numbered()))
    starts, middles, ends = (frame[:, 0, 0, 0] for frame in (first, middle, second))
    assert (starts < middles).all() and (middles < ends).all()
    torch.testing.assert_close(time, (middles - starts) / (ends - starts))
    assert {(a, b) for a, b in zip(starts.tolist(), ends.tolist())} == {(a, b) for a in range(6) for b in range(a + 2, 6)}


def test_three_frames_leave_no_choice():
    first, middle, second, time = stretches(batch(numbered(frames=3)))
    assert first[:, 0].unique().tolist() == [0] and middle[:, 0].unique().tolist() == [1] and second[:, 0].unique().tolist() == [2]
    assert time.unique().tolist() == [0.5]


def test_the_choice_is_the_clips_own_whatever_the_parts():
    video = numbered(16)
    whole = stretches(batch(video))
    parts = [stretches(batch(video, slice(start, start + 4))) for start in range(0, 16, 4)]
    for index, value in enumerate(whole):
        assert torch.equal(torch.cat([part[index] for part in parts]), value)
    assert not torch.equal(stretches(batch(video, step=2))[3], whole[3])


def test_mirrored_clips_stay_clips():
    source = batch(numbered())
    plain, turned = stretches(source), mirrored(source, *stretches(source))
    kinds = set()
    for clip in range(64):
        a, m, b, time = (value[clip] for value in turned)
        backwards, upside, sideways = a[0, 0, 0] > b[0, 0, 0], m[1, 0, 0] > m[1, -1, 0], m[2, 0, 0] > m[2, 0, -1]
        kinds.add((bool(backwards), bool(upside), bool(sideways)))
        assert torch.equal(a[1:], m[1:]) and torch.equal(b[1:], m[1:]), "all frames alike"
        assert time.item() == pytest.approx(((m - a) / (b - a))[0, 0, 0].item())
        assert m[0, 0, 0] == plain[1][clip, 0, 0, 0]
    assert len(kinds) == 8


def test_crops_are_the_same_square_of_every_frame():
    a, b = cropped(batch(numbered()), 4, numbered()[:, :, 0], numbered()[:, :, 3])
    assert a.shape == (64, 3, 4, 4) and torch.equal(a[:, 1:], b[:, 1:])
    assert {(y, x) for y, x in a[:, 1:, 0, 0].tolist()} == {(y, x) for y in range(2) for x in range(4)}


def test_phases_change_their_own_network_and_can_be_chosen():
    assert [phase.name for phase in KeyframeTask(config(), DataInfo(), CPU).phases] == ["ae", "flow"]
    assert [phase.name for phase in KeyframeTask(config(learns="interpolator"), DataInfo(), CPU).phases] == ["flow"]
    task = KeyframeTask(config(interpolation="l1:2,psnr:1"), DataInfo(), CPU)
    video = torch.rand(4, 3, 4, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = task.losses("flow", batch(video))
    assert set(found) == {"loss", "l1", "psnr", "repeats", "decibel"}
    torch.testing.assert_close(found["loss"], 2 * found["l1"] + found["psnr"] + 0.1 * found["repeats"])
    found["loss"].backward()
    assert all(parameter.grad is None for parameter in task.nets["autoencoder"].parameters())


HALF = torch.tensor([0.5])


def footage(held: bool, seed: int, clips: int = 4) -> torch.Tensor:
    """(clips, 3, 3, 16, 16): bright frames that move, or dark ones of which one is shown twice, coded anew the second time."""
    draw = torch.Generator().manual_seed(seed)
    noise = lambda: torch.rand(clips, 3, 16, 16, generator=draw)
    wide = torch.nn.functional.interpolate(torch.rand(clips, 3, 4, 5, generator=draw), scale_factor=5) * 2 - 1
    a, middle, b = (wide[..., :16, shift:shift + 16] for shift in (0, 2, 4))
    if held:
        first = torch.rand(clips, 1, 1, 1, generator=draw) < 0.5
        middle = torch.where(first, a, b) + 0.004 * noise()
    return torch.stack([a, middle, b], 2) * 0.5 + (-0.5 if held else 0.5)


def test_a_middle_that_is_an_end_again_is_told_from_one_that_moves():
    for held in (True, False):
        assert (repeats(*footage(held, 0, 16).unbind(2), HALF.expand(16)) == held).all()
    still = footage(False, 0)[:, :, 0]
    assert not repeats(still, still, still, HALF).any(), "nothing moves: nothing to tell"
    for other in (still, still + 1 / 255):
        assert told_apart(torch.full((4,), 5.0), repeats(still, other, other, HALF), still, other) == 0


def test_steady_change_is_no_repetition_however_near_in_time():
    """The frame after the first one of sixteen differs from it by a fifteenth of what the last one does, squared 1/225."""
    first, _, second = footage(False, 0).unbind(2)
    for frames in range(3, 17):
        for place in range(1, frames - 1):
            time = torch.full((4,), place / (frames - 1))
            assert not repeats(first, torch.lerp(first, second, place / (frames - 1)), second, time).any()
            assert repeats(first, first + 0.001, second, time).all()


def test_held_frames_teach_no_motion():
    task = KeyframeTask(config(interpolation="l1:1"), DataInfo(), CPU)
    motion = [parameter for name, parameter in task.nets["interpolator"].named_parameters() if not name.startswith(("repeats", "encoder"))]
    slopes = {}
    for held in (True, False):
        found = task.losses("flow", batch(footage(held, 1)))
        gradients = torch.autograd.grad(found["loss"], motion, allow_unused=True)
        slopes[held] = sum(gradient.abs().sum().item() for gradient in gradients if gradient is not None)
        assert found["decibel"] < 40, "what is told is the error to the real frame"
    assert slopes[True] == 0 < slopes[False]


def test_it_learns_which_footage_is_held():
    torch.manual_seed(0)
    task = KeyframeTask(config(), DataInfo(), CPU)
    for step in range(1, 241):
        video = torch.cat([footage(True, step), footage(False, step)])
        task.phases[1].optimizer.zero_grad()
        task.losses("flow", batch(video, step=step))["loss"].backward()
        task.phases[1].optimizer.step()
    half = torch.full((32,), 0.5)
    with torch.no_grad():
        for held in (True, False):
            first, _, second = footage(held, 1000, 32).unbind(2)
            same = (task.nets["interpolator"].restore(first, second, half) == first).all(dim=(1, 2, 3)).float().mean()
            assert same > 0.95 if held else same < 0.05


@torch.no_grad()
def test_samples_are_clips_remade_from_their_ends():
    task = KeyframeTask(config(), DataInfo(), CPU)
    video = torch.rand(2, 3, 5, 16, 16) * 2 - 1
    made = task.sample(task.nets, Request(torch.zeros(2, 0), None, video))
    first, last = (task.nets["autoencoder"](video[:, :, index]).clamp(-1, 1) for index in (0, 4))
    assert made.shape == video.shape and torch.equal(made[:, :, 0], first) and torch.equal(made[:, :, 4], last)
    torch.testing.assert_close(made[:, :, 1], task.nets["interpolator"](first, last, torch.full((2,), 0.25)))


@pytest.mark.parametrize("settings, named", [({"frames": 2}, "--frames 2"), ({"crop": 17}, "--model.crop 17"),
                                             ({"crop": 0}, "--model.crop 0"), ({"interpolation": "sharp:1"}, "--model.interpolation"),
                                             ({"reconstruction": "perceptual:1"}, "--model.vgg_weights")])
def test_mistakes_are_named(settings, named):
    wrong = config(**{name: value for name, value in settings.items() if name != "frames"})
    wrong.frames = settings.get("frames", 4)
    with pytest.raises(UserError, match=named):
        KeyframeTask(wrong, DataInfo(), CPU)


def test_crops_too_small_for_the_perceptual_loss_are_named_before_anything_is_read():
    task = KeyframeTask(config(crop=3, interpolation="perceptual:1", vgg_weights="absent"), DataInfo(), CPU)
    with pytest.raises(UserError, match="--model.interpolation perceptual:1: perceptual needs at least 4x4 pixels, these are 3x3"):
        task.get_ready()


VAIN = {"lr_d": 1e-4, "loss": "wgan_gp", "gp": 1.0, "clip_weights": 0.01, "d_repeats": 2, "g_every": 2, "compile_penalty": True,
        "grow_from": 2, "grow_steps": 5, "grow_fade": 0.2, "r1": 5.0, "r2": 5.0, "penalty_every": 2, "pixel_mse": 1.0,
        "first_frame_l1": 1.0, "random_frame": True, "wrong_labels": 0.5, "class_ce": 1.0, "class_ce_d": 1.0, "class_ce_steps": 5,
        "class_ce_then": 1.0, "diversity": 1.0, "mask_l1": 1.0, "augment": "color", "augment_p": 0.5,
        "augment_warmup": 9, "spectral_norm": True}


@pytest.mark.parametrize("name", VAIN)
def test_what_only_a_discriminator_could_use_is_refused_in_training(name):
    asked = config()
    setattr(asked, name, VAIN[name])
    task = KeyframeTask(asked, DataInfo(), CPU)  # a checkpoint that has it can be sampled from
    with pytest.raises(UserError, match=f"^--{name} {VAIN[name]}: keyframes trains against no discriminator .* leave it out$"):
        task.get_ready()


@pytest.mark.parametrize("recipe", ["keyframes.yaml", "faithful/keyframes.yaml"])
def test_recipes_ask_for_nothing_in_vain(recipe):
    asked = parse(TrainConfig, ["--config", f"{ROOT}/configs/{recipe}"], models=MODELS)
    KeyframeTask(asked, DataInfo(), torch.device("meta")).get_ready()


def test_flags_in_vain_are_one_line_before_anything_is_done(runner, tmp_path):
    run = runner.train("--out", tmp_path / "run", "--r1", "5", "--loss", "wgan_gp", "--augment", "color", "--grow_from", "2",
                       settings=COMMAND, expect=2)
    assert run.stderr.startswith("error: --loss wgan_gp, --grow_from 2, --r1 5.0, --augment color: keyframes trains against no")
    assert run.stderr.count("\n") == 1 and not (tmp_path / "run").exists()


COMMAND = [*QUICK, "--family", "keyframes", "--height", "32", "--width", "32", "--warmup", "0",
           "--frames", "4", "--batch_size", "4", "--steps", "24", "--lr", "2e-3", "--beta1", "0.9",
           "--model.crop", "16", *(word for name, value in TINY_NETS.items() for word in (f"--model.{name}", str(value)))]
EXTRA = {"fp32": ["--precision", "fp32", "--lr_decay", "cosine", "--accumulate", "2", "--flip"],
         "bf16": ["--precision", "bf16", "--model.interpolation", "laplacian:1,census:0.5"]}


@pytest.mark.parametrize("extra", EXTRA.values(), ids=EXTRA)
def test_interrupted_equals_straight(runner, tmp_path, extra):
    out, straight = tmp_path / "run", tmp_path / "straight"
    runner.train("--out", straight, *extra, settings=COMMAND)
    interrupt(runner.start("--out", out, *extra, settings=COMMAND), out, after=5)
    assert 5 <= len(rows(out)) < 24
    runner.train("--out", out, *extra, settings=COMMAND)
    assert outcome(out) == outcome(straight)
    assert {"ae/loss", "ae/decibel", "flow/loss", "flow/decibel"} <= set(rows(out)[-1])


def test_it_learns(runner, tmp_path):
    """Both networks begin well, without training; what they learn is on top of that."""
    runner.train("--out", tmp_path / "run", "--steps", "240", "--lr_decay", "cosine", "--data", "synthetic:num_videos=64,frames=12",
                 settings=COMMAND)
    learnt = load_sampler(tmp_path / "run", "cpu", "fp32").nets["autoencoder"]
    frames = torch.from_numpy(np.stack([next(render(draw_factors(1, number), 1, 32, 32, 24)) for number in range(32)]))
    frames = frames.permute(0, 3, 1, 2).float() / 127.5 - 1

    @torch.no_grad()
    def error(net):  # charbonnier's, but for its epsilon
        return (net(frames) - frames).abs().mean().item()

    assert error(learnt) < 0.92 * error(Autoencoder(8, 4, 4))
    found = rows(tmp_path / "run")
    mean = lambda name, part: sum(row[name] for row in part) / len(part)
    assert mean("flow/decibel", found[-10:]) > mean("flow/decibel", found[:10]) - 3, "it begins well and stays so"
    assert json.loads((newest(tmp_path / "run") / "state.json").read_text())["config"]["lr_decay"] == "cosine"


def test_the_learning_rate_falls_along_a_cosine_and_its_length_is_then_settled():
    from training.loop import Loop

    loop = Loop.__new__(Loop)
    loop.config, loop.lr_scale = config(), 0.5
    loop.config.lr_decay, loop.config.warmup = "cosine", 2
    loop.task = KeyframeTask(loop.config, DataInfo(), CPU)
    loop.setup, loop.base_lrs = type("Setup", (), {"steps": 8}), {phase.name: [4.0] for phase in loop.task.phases}
    for loop.step in range(1, 9):
        loop._set_lr()
        expected = 4 * 0.5 * min(1, loop.step / 2) * (1 + math.cos(math.pi * (loop.step - 1) / 8)) / 2
        assert all(phase.optimizer.param_groups[0]["lr"] == pytest.approx(expected) for phase in loop.task.phases)
    longer = config()
    longer.lr_decay, longer.warmup, longer.steps = "cosine", 2, 99
    assert differences(loop.config, longer) == ["steps: None -> 99, which learning rates follow with --lr_decay cosine"]
    longer.lr_decay = loop.config.lr_decay = "none"
    assert differences(loop.config, longer) == []


def test_the_learning_rate_falls_with_the_root_of_the_step_whatever_the_length():
    from training.loop import Loop

    loop = Loop.__new__(Loop)
    loop.config, loop.lr_scale = config(), 0.5
    loop.config.lr_decay, loop.config.lr_decay_from, loop.config.warmup = "sqrt", 4, 2
    loop.task = KeyframeTask(loop.config, DataInfo(), CPU)
    loop.setup, loop.base_lrs = type("Setup", (), {"steps": 16}), {phase.name: [4.0] for phase in loop.task.phases}
    for loop.step, expected in ((1, 1), (2, 2), (3, 2), (4, 2), (9, 2 * 2 / 3), (16, 1), (100, 0.4)):
        loop._set_lr()
        assert all(phase.optimizer.param_groups[0]["lr"] == pytest.approx(expected) for phase in loop.task.phases)
    longer = replace(loop.config, steps=99)
    assert differences(loop.config, longer) == []
    longer.lr_decay_from = 5
    assert differences(loop.config, longer) == ["lr_decay_from: 4 -> 5"]
