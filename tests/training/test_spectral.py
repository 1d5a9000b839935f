"""--spectral_norm with every adversarial family: bounded weights, exact resume, together with what else bounds or changes weights."""

import pytest
import torch
from torch.nn.utils.parametrize import is_parametrized

from configs.schema import TrainConfig
from models.spectral import LAYERS, InFloat32, normalise_spectrally
from tests.training.runner import QUICK, newest, outcome
from training import checkpoint
from training.registry import FAMILIES, MODELS
from training.restore import load_sampler
from training.setup import build_task
from training.step import run_phase
from training.task import DataInfo
from utils.errors import UserError

SIZE = ["--height", "16", "--width", "16", "--batch_size", "4", "--warmup", "0", "--spectral_norm"]
CLIPS = ["--frames", "4", "--model.g_width", "4", "--model.d_width", "4", "--model.max_width", "8"]
RUNS = {
    "dcgan": ["--model.g_width", "4", "--model.d_width", "4", "--model.d_norm", "group", "--r1", "1", "--grow_from", "1", "--grow_steps",
              "2", "--precision", "fp32"],
    "mlp_gan": ["--model.widths", "[130,140]", "--model.components", "0", "--model.d_norm", "layer", "--optimizer", "adam_lean",
                "--r1", "1"],
    "vgan": [*CLIPS, "--model.d_norm", "group", "--loss", "hinge", "--precision", "bf16"],
    "vgan_conditional": [*CLIPS, "--model.d_norm", "none", "--loss", "wgan_gp", "--d_repeats", "2"],
    "hrvgan": [*CLIPS, "--model.d_norm", "layer", "--loss", "wgan_gp", "--class_ce", "1", "--compile_penalty", "--model.time_doublings",
               "0", "--grow_from", "1", "--grow_steps", "2"],
}


def layers_of(net) -> dict[str, torch.nn.Module]:
    return {name: module for name, module in net.named_modules() if isinstance(module, LAYERS)}


def largest_singular_value(layer) -> float:
    return torch.linalg.svdvals(layer.weight.detach().flatten(1))[0].item()


def test_the_matrix_is_complete():
    assert set(RUNS) == set(FAMILIES) - {"keyframes"}  # which is not adversarial


@pytest.mark.parametrize("family", RUNS)
def test_every_family_trains_resumes_exactly_and_is_bounded(family, runner, tmp_path):
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    settings = [*QUICK, *SIZE, "--family", family, *RUNS[family]]
    runner.train("--out", straight, "--steps", 3, settings=settings)
    for steps in (2, 3):  # where they grow, step 2 is in the middle of a fade
        runner.train("--out", broken, "--steps", steps, settings=settings)
    assert outcome(broken) == outcome(straight)
    critic = load_sampler(straight, device="cpu").nets["discriminator"].train()
    began = build_task(load_sampler(straight).config, DataInfo(["a"] * 8)).nets["discriminator"].state_dict()
    tensors, layers = checkpoint.read_tensors(newest(straight), "nets"), layers_of(critic)
    assert all(name.endswith(".weight.original") for name, value in critic.named_parameters() if value.dim() > 1) and len(layers) > 2
    for name, layer in layers.items():
        assert is_parametrized(layer, "weight"), name
        vector = f"{name}.parametrizations.weight.0.function._u"
        assert torch.equal(began[vector], tensors[f"discriminator.{vector}"]) == (len(began[vector]) == 1), name
        for _ in range(300):  # each look is a pass
            weight = layer.weight
        assert largest_singular_value(layer) == pytest.approx(1, abs=2e-3), (name, weight.shape)


def a_task(family: str, device: str = "cpu", **settings):
    """Untrained, of 16x16 pixels and two classes."""
    small = {"widths": [12, 8], "components": 0} if family == "mlp_gan" else {"g_width": 4, "d_width": 4}
    config = TrainConfig(**{"family": family, "height": 16, "width": 16, "frames": 1 if family in ("dcgan", "mlp_gan") else 4,
                            "batch_size": 4, "spectral_norm": True, "model": MODELS[family](**small), **settings})
    with torch.device(device):
        return build_task(config.check(), DataInfo(["a", "b"]), torch.device(device))


def verdict(task) -> torch.Tensor:
    """Of fixed clips."""
    critic, config = task.nets["discriminator"], task.config
    video = torch.randn(4, 3, config.frames, 16, 16, generator=torch.Generator().manual_seed(0))
    return critic(video, torch.tensor([0, 1, 0, 1])) if getattr(critic, "takes_labels", False) else critic(video)


@pytest.mark.parametrize("family", RUNS)
def test_how_large_weights_are_makes_no_difference_and_looking_changes_nothing(family):
    task = a_task(family)
    critic = task.nets["discriminator"].eval()
    expected, state = verdict(task), {name: value.clone() for name, value in critic.state_dict().items()}
    verdict(task)
    assert all(torch.equal(value, state[name]) for name, value in critic.state_dict().items()), "no power iteration in evaluation mode"
    with torch.no_grad():
        for parameter in critic.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3)
    torch.testing.assert_close(verdict(task), expected)


@pytest.mark.parametrize("family", RUNS)
def test_the_generator_s_step_leaves_the_vectors_alone(family):
    task = a_task(family, r1=1.0)
    raw = {"video": torch.randint(0, 256, (4, task.config.frames, 16, 16, 3), dtype=torch.uint8), "label": torch.tensor([0, 1, 0, 1])}
    state = lambda: {name: value.clone() for name, value in task.nets["discriminator"].state_dict().items()}
    phases, before = {phase.name: phase for phase in task.phases}, state()
    step = lambda name: run_phase(task, phases[name], raw, task.config, step=1, repeat=0, device=torch.device("cpu"), dtype=torch.float32)
    step("g")
    assert all(torch.equal(value, before[name]) for name, value in state().items())
    step("d")
    assert all(not torch.equal(value, before[name]) for name, value in state().items() if name.endswith("weight.original"))


def test_a_layer_that_is_normalised_already_stays_as_it_is():
    given = MODELS["dcgan"](g_width=4, d_width=4, d_norm="spectral")
    plain, both = (a_task("dcgan", model=given, spectral_norm=flag).nets["discriminator"].state_dict() for flag in (False, True))
    assert plain.keys() == both.keys() and all(torch.equal(plain[name], both[name]) for name in plain)


@pytest.mark.parametrize("family", ["dcgan", "vgan"])
def test_the_norm_of_that_name_is_the_same_alone(family):
    named, flagged = (a_task(family, model=MODELS[family](g_width=4, d_width=4, d_norm=norm), spectral_norm=norm == "none")
                      for norm in ("spectral", "none"))
    shapes = [{name: value.shape for name, value in task.nets["discriminator"].state_dict().items()} for task in (named, flagged)]
    assert shapes[0] == shapes[1]


def test_norms_are_float32_within_autocast():
    layer = torch.nn.Sequential(torch.nn.Linear(4, 3))
    normalise_spectrally(layer)
    seen = []
    (wrapped,) = (module for module in layer.modules() if isinstance(module, InFloat32))
    wrapped.function.register_forward_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.ones(2, 4)).dtype == torch.bfloat16
    assert seen == [False]


def test_what_it_cannot_be_combined_with_is_refused_by_both_names():
    with pytest.raises(UserError, match="--spectral_norm and --clip_weights 0.01"):
        a_task("dcgan", loss="wgan", clip_weights=0.01)
    with pytest.raises(UserError, match="--model.d_norm spectral and --clip_weights 0.01"):
        a_task("vgan", loss="wgan", clip_weights=0.01, spectral_norm=False, model=MODELS["vgan"](d_norm="spectral"))
    with pytest.raises(UserError, match="--spectral_norm: .* in pieces.* --model.components"):
        a_task("mlp_gan", "meta", height=256, width=256, model=MODELS["mlp_gan"](components=0))
