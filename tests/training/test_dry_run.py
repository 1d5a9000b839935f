"""--dry_run measures what a run will need most, and tells how long its average step takes."""

import re
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from configs.schema import TrainConfig
from models.dcgan import DCGANConfig
from training import dry_run as module
from training.step import run_phase

# Seconds of a discriminator's step, of its penalty, of a generator's step.
D, PENALTY, G = 1.0, 4.0, 2.0


def dried(monkeypatch, tmp_path, **settings) -> list[tuple]:
    """What each phase of a dry run did: (name, training step, level and alpha of the networks, penalised). The clock stands still but for
    the seconds above."""
    seen, clock, setups = [], [0.0], []

    def prepared(config):
        setups.append(prepare(config))
        return setups[0]

    def watched(task, phase, *rest, step, **more):
        values = run_phase(task, phase, *rest, step=step, **more)
        clock[0] += (D if phase.name == "d" else G) + PENALTY * ("r1" in values)
        net = task.nets["generator"]
        seen.append((phase.name, step, (net.level, net.alpha), "r1" in values))
        return values

    prepare = module.prepare
    monkeypatch.setattr(module, "prepare", prepared)
    monkeypatch.setattr(module, "run_phase", watched)
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    config = TrainConfig(data="synthetic:num_videos=8,frames=4", height=32, width=32, batch_size=4, workers=1, precision="fp32",
                         model=DCGANConfig(latent_dim=4, g_width=4, d_width=4), cache_dir=str(tmp_path / "cache"),
                         out=str(tmp_path / "run"), **settings)
    assert module.dry_run(config.check()) == 0 and not (tmp_path / "run").exists()
    return seen


def told(capsys) -> str:
    return re.search(r"^one step +(.*)$", capsys.readouterr().out, re.M)[1]


def test_full_size_and_every_kind_of_step_by_its_share(monkeypatch, tmp_path, capsys):
    """Of four steps one has penalty and generator, one the generator, two neither."""
    seen = dried(monkeypatch, tmp_path, grow_from=2, grow_steps=5, r1=1.0, penalty_every=4, g_every=2, steps=120)
    mean = (D + G + PENALTY) / 4 + (D + G) / 4 + D / 2
    assert told(capsys) == f"{mean:.3f} s on average ({D:.3f} to {D + G + PENALTY:.3f}) at full size, so at most about 6 min 0 s in all"
    assert mean * 120 == 360 and {stage for _, _, stage, _ in seen} == {(0, 1.0)} and min(step for _, step, _, _ in seen) > 10
    for name, step, _, penalised in seen:
        assert penalised == (name == "d" and step % 4 == 0) and (name == "d" or step % 2 == 0)
    assert len({step for _, step, _, _ in seen}) == 3
    # What needs most memory comes first, and once more, when it no longer allocates.
    assert [seen[0][1]] * 4 == [step for _, step, _, _ in seen[:4]] and any(penalised for *_, penalised in seen[:2])


@pytest.mark.parametrize("settings, mean", [({}, D + G), ({"penalty_every": 4}, D + G), ({"g_every": 5}, D + G / 5),
                                            ({"d_repeats": 3}, 3 * D + G), ({"r1": 1.0}, D + G + PENALTY),
                                            ({"r1": 1.0, "penalty_every": 16}, D + G + PENALTY / 16)])
def test_the_average_step(monkeypatch, tmp_path, capsys, settings, mean):
    dried(monkeypatch, tmp_path, steps=60, **settings)
    line = told(capsys)
    assert line.startswith(f"{mean:.3f} s") and line.endswith(f", so about {round(mean * 60) // 60} min {round(mean * 60) % 60} s in all")
    assert ("on average" in line) == (mean not in (D + G, 3 * D + G, D + G + PENALTY))


def test_memory_counts_weights_moments_and_averages():
    net = nn.Linear(3, 5)  # 20 weights
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    task = SimpleNamespace(nets={"generator": net, "discriminator": nn.Linear(2, 1, bias=False)}, ema=("generator",),
                           phases=[SimpleNamespace(optimizer=optimizer)])
    told = lambda ema: module._state_bytes(SimpleNamespace(task=task, config=SimpleNamespace(ema=ema)))
    assert told(0.0) == 4 * (20 + 2 + 20) and told(0.9) == 4 * (20 + 2 + 20 + 20)
    assert [module._clock(seconds) for seconds in (59.6, 3599, 7325)] == ["1 min 0 s", "59 min 59 s", "2 h 2 min"]
