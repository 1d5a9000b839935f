"""HRVGAN: shapes at every allowed size, errors at the others, labels, growing; training on the data sets it was published for."""

import json
import re

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from data.synthetic import make_synthetic
from generate import GenerateConfig, class_numbers, film_frames
from models.hrvgan import DownBlock, build
from models.hrvgan_parts import HRVGANConfig, Modulation, Paint, UpBlock, check_frames, initialise
from models.shape import ClipShape
from tests.training.runner import Runner, newest, rows
from training.restore import load_sampler
from utils.errors import UserError
from utils.video import write_video

SMALL = {"latent_dim": 5, "class_dim": 3, "g_width": 4, "d_width": 4, "max_width": 8}
TINY = ["--family", "hrvgan", "--height", 16, "--width", 16, "--frames", 4, "--model.g_width", 4, "--model.d_width", 4,
        "--model.max_width", 8, "--model.latent_dim", 8, "--model.class_dim", 4, "--batch_size", 4, "--precision", "fp32"]


@pytest.fixture(scope="module")
def runner(tmp_path_factory, _cache_of_its_own):
    runner = Runner(tmp_path_factory.mktemp("runs"))
    yield runner
    runner.close()


def pair(shape: ClipShape, seed: int = 0, **more):
    torch.manual_seed(seed)
    return build(HRVGANConfig(**{**SMALL, **more}), shape)


def run_pair(shape: ClipShape, **more) -> torch.Tensor:
    nets = pair(shape, **more)
    labels = torch.arange(2) % shape.classes
    clips = nets["generator"](torch.randn(2, 5), labels)
    assert clips.shape == (2, 3, shape.frames, shape.height, shape.width) and clips.abs().max() <= 1
    assert nets["discriminator"](clips, labels).shape == (2,)
    return clips


@pytest.mark.parametrize("frames, height, width, classes", [(16, 32, 32, 3), (1, 16, 16, 1), (6, 32, 48, 2), (12, 8, 24, 1), (2, 4, 4, 1)])
def test_shapes(frames, height, width, classes):
    run_pair(ClipShape(frames, height, width, classes))


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 3), st.integers(0, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.sampled_from(["batch", "group"]),
       st.sampled_from(["none", "layer", "group"]), st.sampled_from(["nearest", "trilinear"]), st.booleans(), st.sampled_from([0, 6]),
       st.sampled_from([1, 3]), st.sampled_from(["mean", "max"]), st.sampled_from(["first", "between"]),
       st.sampled_from(["zeros", "replicate"]), st.integers(0, 2), st.sampled_from(["painted", "curve"]))
def test_shapes_at_any_allowed_size_and_setting(depth, doublings, frames, rows_, columns, g_norm, d_norm, upsample, variety, mapping, span,
                                                pool, up, padding, sprites, outline):
    assume(doublings <= depth)
    run_pair(ClipShape(frames << doublings, rows_ << depth, columns << depth, 2), depth=depth, time_doublings=doublings, g_norm=g_norm,
             d_norm=d_norm, g_upsample=upsample, d_minibatch_std=variety, g_mapping=mapping, kernel_frames=span, d_pool=pool, g_up=up,
             g_padding=padding, sprites=sprites, sprite_outline=outline)


def test_the_published_size_has_the_published_widths():
    with torch.device("meta"):
        nets = build(HRVGANConfig(), ClipShape(16, 128, 128, 101))
        clips = nets["generator"](torch.zeros(1, 128), torch.zeros(1, dtype=torch.int64))
    assert nets["generator"].grid == (128, 2, 4, 4) and clips.shape == (1, 3, 16, 128, 128)
    assert [block.conv1.out_channels for block in nets["generator"].blocks.values()] == [128, 128, 64, 32, 16]
    assert [block.conv1.in_channels for block in nets["discriminator"].blocks.values()] == [16, 32, 64, 128, 128]


def refusal(frames: int, doublings: int | None, depth: int) -> int | None:
    try:
        check_frames(frames, doublings, depth)
    except UserError as error:
        assert f"--frames {frames}:" in str(error)
        return int(re.search(r"nearest allowed is --frames (\d+)", str(error))[1])


@pytest.mark.parametrize("depth", [4, 6])
@pytest.mark.parametrize("doublings", [None, 0, 3])
def test_a_wrong_number_of_frames_is_told_the_nearest_that_works(doublings, depth):
    works = [number for number in range(1, 400) if refusal(number, doublings, depth) is None]
    for frames in set(range(1, 300)) - set(works):
        assert abs(refusal(frames, doublings, depth) - frames) == min(abs(number - frames) for number in works)


def test_time_starts_with_two_or_three_frames():
    works = [frames for frames in range(1, 300) if refusal(frames, None, 9) is None]
    assert works == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256]
    assert all(frames >> check_frames(frames, None, 9) in (2, 3) for frames in works[1:])


@pytest.mark.parametrize("shape, words", [(ClipShape(17, 64, 64), "--frames 17"), (ClipShape(16, 60, 64), "--height 60"),
                                          (ClipShape(16, 64, 64, grow=2), "--grow_from 2: .* at most 1")])
def test_a_wrong_size_stops_the_build(shape, words):
    with torch.device("meta"), pytest.raises(UserError, match=words):
        build(HRVGANConfig(), shape)


@pytest.mark.parametrize("classes, mapping, sprites, outline, decides", [
    (1, 0, 0, "painted", "all"), (3, 0, 0, "painted", "all"), (1, 7, 0, "painted", "all"), (3, 7, 0, "painted", "all"),
    (1, 0, 1, "painted", "all"), (3, 7, 2, "painted", "all"), (1, 0, 2, "curve", "all"), (3, 7, 2, "curve", "thing")])
def test_every_parameter_gets_a_finite_gradient(classes, mapping, sprites, outline, decides):
    nets = pair(ClipShape(4, 16, 16, classes), g_mapping=mapping, sprites=sprites, sprite_outline=outline, sprite_class=decides)
    labels = torch.arange(6) % classes
    nets["discriminator"](nets["generator"](torch.randn(6, 5), labels), labels).square().sum().backward()
    for name, net in nets.items():
        for key, parameter in net.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.abs().max() > 0, f"{name}.{key}"


@pytest.mark.parametrize("doublings, spans", [(0, [1, 1, 3]), (1, [1, 1, 3]), (2, [1, 3, 3])])
def test_kernels_of_one_frame_let_frames_meet_at_the_coarse_levels_alone(doublings, spans):
    nets = pair(ClipShape(4, 32, 32, 1), depth=3, time_doublings=doublings, kernel_frames=1)
    for name in ("generator", "discriminator"):
        found = [{layer.kernel_size[0] for layer in (block.conv1, block.conv2)} for block in nets[name].eval().blocks.values()]
        assert found[::-1 if name == "generator" else 1] == [{span} for span in spans]
    fine = nets["generator"].blocks["0"]
    x, other = torch.randn(2, 1, fine.conv1.in_channels, 4, 16, 16)
    other[:, :, [0, 1, 3]] = x[:, :, [0, 1, 3]]
    changed = (fine(x, torch.zeros(1, 5)) - fine(other, torch.zeros(1, 5))).abs().amax((0, 1, 3, 4))
    assert (changed > 0).tolist() == [False, False, True, False]


@pytest.mark.parametrize("up, seen", [("first", [(4, 8, 6), (4, 8, 6)]), ("between", [(2, 4, 3), (4, 8, 6)])])
def test_a_block_of_the_generator_doubles_before_its_convolutions_or_between_them(up, seen):
    block, found = UpBlock(4, 2, (2, 2, 2), 3, HRVGANConfig(g_up=up), 5), []
    for convolution in (block.conv1, block.conv2):
        convolution.register_forward_pre_hook(lambda layer, inputs: found.append(tuple(inputs[0].shape[2:])))
    x, condition = torch.randn(3, 4, 2, 4, 3), torch.randn(3, 5)
    y = block(x, condition)
    assert found == seen and y.shape == (3, 2, 4, 8, 6)
    first = block.first(x, condition)
    double = lambda values: F.interpolate(values, scale_factor=(2, 2, 2), mode="trilinear")
    middle = block.conv1(double(first)) if up == "first" else double(block.conv1(first))
    expected = (double(block.shortcut(x)) + block.conv2(block.second(middle, condition))) / 2**0.5
    assert torch.allclose(y, expected, atol=1e-6)


@pytest.mark.parametrize("part", [lambda padding: UpBlock(4, 2, (2, 2, 2), 3, HRVGANConfig(g_padding=padding), 5),
                                  lambda padding: UpBlock(4, 2, (2, 2, 2), 3, HRVGANConfig(g_padding=padding, g_up="between"), 5),
                                  lambda padding: Paint(4, 3, 3, HRVGANConfig(g_padding=padding), 5)], ids=["first", "between", "paint"])
def test_padding_with_the_edge_leaves_no_lines_along_it(part):
    """What is the same everywhere stays so; with zeros beyond the edge it does not."""
    flat, condition = torch.randn(3, 4, 1, 1, 1).expand(3, 4, 2, 6, 5), torch.randn(3, 5)
    for padding in ("zeros", "replicate"):
        made = part(padding)(flat, condition)
        unevenness = (made - made.mean((2, 3, 4), keepdim=True)).abs().max().item()
        assert unevenness < 1e-5 if padding == "replicate" else unevenness > 1e-3


@pytest.mark.parametrize("pool, function", [("mean", F.avg_pool3d), ("max", F.max_pool3d)])
@pytest.mark.parametrize("stride", [(2, 2, 2), (1, 2, 2)])
def test_a_block_of_the_critic_takes_means_or_the_strongest(pool, function, stride):
    """Both convolutions pass on what they are given, and the shortcut nothing."""
    block, x = DownBlock(3, 3, stride, 3, "none", pool).double(), torch.randn(2, 3, 4, 8, 6, dtype=torch.double)
    for weight in block.parameters():
        weight.data.zero_()
    for convolution in (block.conv1[0] if pool == "max" else block.conv1, block.conv2):
        convolution.weight.data[range(3), range(3), 1, 1, 1] = 1
    leaky = lambda values: F.leaky_relu(values, 0.2)
    torch.testing.assert_close(block(x), leaky(function(leaky(x), stride)) / 2**0.5)


def test_a_critic_that_takes_the_strongest_has_a_slope_at_every_pixel_and_slopes_of_slopes():
    critic = pair(ClipShape(4, 16, 16, 2), d_pool="max")["discriminator"]
    video, labels = torch.randn(3, 3, 4, 16, 16, requires_grad=True), torch.tensor([0, 1, 1])
    (slopes,) = torch.autograd.grad(critic(video, labels).sum(), video, create_graph=True)
    assert (slopes != 0).all()
    slopes.square().sum().backward()
    gradients = [block.conv1[0].weight.grad for block in critic.blocks.values()]
    assert all(gradient.isfinite().all() and gradient.abs().sum() > 0 for gradient in gradients)


def test_the_mapping_mixes_latent_and_class():
    """Without it a class shifts what the projection gives by the same for every latent."""
    latents, labels = torch.randn(2, 5), torch.tensor([0, 1])
    for mapping in (0, 7):
        generator, seen = pair(ClipShape(4, 16, 16, 2), g_mapping=mapping)["generator"], []
        generator.project.register_forward_hook(lambda layer, given, made: seen.append(made))
        with torch.no_grad():
            [generator(latents, labels[[label, label]]) for label in (0, 1)]
        shifts = seen[1] - seen[0]
        assert torch.allclose(shifts[0], shifts[1], atol=1e-5) == (mapping == 0)


def test_the_class_changes_clips_and_verdicts():
    nets, latents, labels = pair(ClipShape(4, 16, 16, 3)), torch.randn(3, 5), torch.tensor([0, 1, 2])
    nets["generator"].eval()
    clips, others = nets["generator"](latents, labels), nets["generator"](latents, labels.flip(0))
    assert torch.allclose(clips[1], others[1], atol=1e-6) and (clips - others)[[0, 2]].abs().mean() > 1e-2
    assert (nets["discriminator"](clips, labels) - nets["discriminator"](clips, labels.flip(0)))[[0, 2]].abs().min() > 1e-3


def test_the_critics_class_term_is_an_inner_product():
    """Miyato & Koyama 2018, eq. 3: of two classes' verdicts, the difference is linear in their vectors."""
    critic, video = pair(ClipShape(4, 16, 16, 2))["discriminator"], torch.randn(4, 3, 4, 16, 16)
    verdict = lambda label: critic(video, torch.full((4,), label))
    before = verdict(1) - verdict(0)
    with torch.no_grad():
        critic.classes.weight.mul_(2)
    torch.testing.assert_close(verdict(1) - verdict(0), 2 * before, rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        critic.classes.weight[1] = critic.classes.weight[0]
    torch.testing.assert_close(verdict(1), verdict(0))


def test_the_critic_tells_classes_by_the_same_inner_products():
    critic, video, label = pair(ClipShape(4, 16, 16, 3))["discriminator"], torch.randn(4, 3, 4, 16, 16), torch.tensor([0, 1, 2, 1])
    verdict, classes = critic.judge(video, label)
    other = (label + 1) % 3
    other_verdict, other_classes = critic.judge(video, other)
    assert classes.shape == (4, 3) and torch.equal(classes, other_classes), "what a clip shows does not depend on what was asked for"
    picked = lambda asked: classes.gather(1, asked[:, None]).squeeze(1)
    torch.testing.assert_close(other_verdict - verdict, picked(other) - picked(label), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(critic(video, label), verdict)
    assert pair(ClipShape(4, 16, 16))["discriminator"].judge(video)[1] is None
    with torch.autocast("cpu", torch.bfloat16):
        rounded = critic.judge(video, label)[1]
    assert rounded.dtype == torch.float32 and not torch.equal(rounded, rounded.bfloat16().float())


def test_without_classes_no_label_is_asked_for():
    nets = pair(ClipShape(4, 16, 16, 1))
    assert not nets["generator"].takes_labels and not nets["discriminator"].takes_labels
    nets["discriminator"](nets["generator"](torch.randn(2, 5)))


def test_the_critic_has_no_statistics_over_the_batch_but_the_variety():
    critic = pair(ClipShape(4, 16, 16, 2), d_minibatch_std=False)["discriminator"]
    video, labels = torch.randn(4, 3, 4, 16, 16), torch.tensor([0, 1, 1, 0])
    torch.testing.assert_close(critic(video, labels)[1:2], critic(video[1:2], labels[1:2]))


# Data sets

def ucf(root):
    """Videos by class folder and official lists, as UCF-101 unpacks."""
    noise = np.random.default_rng(0)
    names = [f"{name}/v_{name}_g0{group}_c01.avi" for name in ("Archery", "Zumba") for group in (1, 2)]
    for name in names:
        path = root / "UCF-101" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, iter(noise.integers(0, 255, (8, 16, 24, 3), dtype=np.uint8)), fps=25)
    lists = root / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 Archery\n2 Zumba\n")
    (lists / "trainlist01.txt").write_text(f"{names[0]} 1\n{names[2]} 2\n")
    (lists / "testlist01.txt").write_text(f"{names[1]}\n{names[3]}\n")
    return ["Archery", "Zumba"], 2


def stacks(root):
    """tinyvideo's JPEGs of stacked frames, by class."""
    noise = np.random.default_rng(0)
    for name in ("aeroplane", "golf"):
        (root / name).mkdir(parents=True)
        for clip in range(2):
            cv2.imwrite(str(root / name / f"{clip}.jpg"), noise.integers(0, 255, (8 * 16, 16, 3), dtype=np.uint8))
    return ["aeroplane", "golf"], 4


def folders(root):
    make_synthetic(root, num_videos=4, frames=8, height=16, width=16)
    return ["bounce_disc", "circle_disc", "horizontal_disc", "vertical_disc"], 4


def unlabelled(root):
    write_video(root / "one.mp4", iter(np.random.default_rng(0).integers(0, 255, (8, 16, 24, 3), dtype=np.uint8)), fps=25)
    return [], 1


@pytest.mark.parametrize("layout", [ucf, stacks, folders, unlabelled])
def test_trains_on_every_layout(runner, tmp_path, layout):
    (tmp_path / "data").mkdir()
    classes, videos = layout(tmp_path / "data")
    out = tmp_path / "run"
    published = ["--loss", "wgan_gp", "--d_repeats", 2, "--pixel_mse", 0.5, "--grow_from", 1, "--grow_steps", 2]
    extra = published if layout is ucf else ["--r1", 1, "--class_ce", 1]
    runner.train(*TINY, *extra, "--data", tmp_path / "data", "--steps", 3, "--out", out)
    state = json.loads((newest(out) / "state.json").read_text())
    assert state["data"]["classes"] == classes and len(json.loads((out / "health.json").read_text())["videos"]) == videos
    expected = {"d/gp", "g/pixel_mse"} if layout is ucf else {"d/r1", "d/accuracy"}
    assert expected <= set(rows(out)[-1]) and ("g/class_ce" in rows(out)[-1]) == (bool(classes) and layout is not ucf)
    sampler = load_sampler(out, device="cpu", precision="fp32")
    assert sampler.takes_labels == bool(classes)
    config = GenerateConfig(num_frames=5, grid="1x2", label=classes[-1] if classes else None).check()
    assert [frame.shape for frame in film_frames(sampler, config, 24)] == [(16, 32, 3)] * 5
    if classes:  # one of each in a grid is what each alone would be
        number = len(classes)
        grid = next(film_frames(sampler, GenerateConfig(num_frames=1, grid=f"1x{number}").check(), 24))
        ends = [next(film_frames(sampler, GenerateConfig(num_frames=1, grid=f"1x{number}", label=name).check(), 24)) for name in classes]
        assert all(np.array_equal(grid[:, 16 * at:16 * at + 16], ends[at][:, 16 * at:16 * at + 16]) for at in range(number))


def test_classes_of_a_list_without_a_video_are_told_and_not_shown(runner, tmp_path):
    ucf(tmp_path / "data")
    (tmp_path / "data" / "ucfTrainTestlist" / "classInd.txt").write_text("1 Archery\n2 Bowling\n3 Zumba\n")
    out = tmp_path / "run"
    done = runner.train(*TINY, "--data", tmp_path / "data", "--steps", 1, "--out", out)
    assert "1 of 3 classes have no clip to learn from (the first: Bowling)" in done.stderr
    assert json.loads((newest(out) / "state.json").read_text())["data"]["shown"] == [0, 2]
    assert "has no effect" not in done.stderr
    sampler = load_sampler(out, device="cpu", precision="fp32")
    assert sampler.num_classes == 3 and class_numbers(sampler, None, 1, 4).tolist() == [2, 0, 2, 0]
    assert class_numbers(sampler, "Bowling", 0, 1).tolist() == [1]  # who asks for it gets it


def test_settings_for_classes_are_told_to_do_nothing_without(runner, tmp_path):
    unlabelled(tmp_path)
    asked = ["--class_ce_d", 4, "--m_per_class", 2]
    done = runner.train(*TINY, "--data", tmp_path / "one.mp4", "--steps", 1, *asked, "--out", tmp_path / "run")
    assert "--class_ce_d 4.0 and --m_per_class 2: the videos of --data " in done.stderr and "are all of one class" in done.stderr


def test_a_modulation_scales_about_one_and_begins_weak():
    torch.manual_seed(0)
    layer, x, condition = Modulation("group", 64, 100), torch.randn(2, 64, 3, 4, 4), torch.randn(2, 100)
    initialise(layer)
    assert layer.linear.weight.std().item() == pytest.approx(0.05, rel=0.05) and not layer.linear.bias.any()
    scale, shift = (condition @ layer.linear.weight.T).view(2, 2, 64, 1, 1, 1).unbind(1)
    expected = F.leaky_relu(F.group_norm(x, 4) * (1 + scale) + shift, 0.2)
    torch.testing.assert_close(layer(x, condition), expected, rtol=1e-4, atol=1e-5)
