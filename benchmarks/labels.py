"""Do samples show the class that was asked for? A classifier that never saw the generator is the judge.

    python -m benchmarks.labels --videos runs/labels_videos --classes horizontal_disc,vertical_disc,circle_disc,bounce_disc
    python train.py --config configs/hrvgan.yaml --data runs/labels_videos --frame_skip 4 --class_ce 1 ... --out runs/labels
    python -m benchmarks.labels --checkpoint runs/labels

The first line writes synthetic videos of some classes (motion x shape, data/synthetic.py) in folders by class. The last one trains a small
3-D convnet on clips drawn from the same factors with other seeds, holds it to 98% on clips with yet other seeds, lets it judge the samples
of a checkpoint class by class, and writes benchmarks/results/labels.json. Without labels one over the number of classes would be right.
"variety" says how much the samples of a class differ, as a share of how much real clips of it do.
"""

import argparse
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.machine import command, describe
from benchmarks.pixel_mse import variety
from data.synthetic import MOTIONS, SHAPES, draw_factors, make_synthetic, render
from training.restore import Sampler, load_sampler
from training.step import to_float
from utils.errors import UserError, script
from utils.files import write_json
from utils.seeds import derive, numpy_generator, torch_generator

TRAINED_ON, HELD_OUT = 1, 2  # seeds of the judge's clips; the generator's videos have seed 0
NEEDED, BAR = 0.98, 0.90
SOURCE_FPS = 24
ALL = [f"{motion}_{shape}" for motion in MOTIONS for shape in SHAPES]


def write_videos(folder: Path, classes: list[str], each: int, frames: int, size: int) -> None:
    """``each`` videos of every class, in folders by class."""
    _check_known(classes, f"--classes {','.join(classes)}")
    make_synthetic(folder, num_videos=each * len(MOTIONS) * len(SHAPES), frames=frames, height=size, width=size, quiet=False)
    for path in folder.iterdir():
        if path.is_dir() and path.name not in classes:
            shutil.rmtree(path)


def _check_known(classes: Iterable[str], flag: str) -> None:
    if unknown := sorted(set(classes) - set(ALL)):
        raise UserError(f"{flag}: {', '.join(unknown)}: not a motion and a shape of data/synthetic.py")


def draw_clips(classes: list[str], each: int, shape: tuple[int, int, int], skip: int, seed: int, length: int) -> tuple[Tensor, Tensor]:
    """uint8 (N, T, H, W, 3) and labels (N,): ``each`` clips of every class, each from anywhere in a video of its own of ``length`` frames,
    as those that the generator learns from: things turn as they go."""
    numbers = {name: [] for name in classes}
    number = 0
    while any(len(found) < each for found in numbers.values()):
        name = draw_factors(seed, number)["class"]
        if name in numbers and len(numbers[name]) < each:
            numbers[name].append(number)
        number += 1
    clips, labels = [], []
    for label, name in enumerate(classes):
        for number in numbers[name]:
            frames, height, width = shape
            span = (frames - 1) * skip + 1
            start = int(numpy_generator(seed, "start", number).integers(length - span + 1))
            film = list(render(draw_factors(seed, number), start + span, height, width, SOURCE_FPS))
            clips.append(np.stack(film[start::skip]))
            labels.append(label)
    return torch.from_numpy(np.stack(clips)), torch.tensor(labels)


def make_judge(classes: int) -> nn.Module:
    """Clips (B, 3, T, H, W) -> logits (B, classes)."""
    widths, layers = (3, 16, 32, 64), []
    for inputs, outputs in zip(widths, widths[1:]):
        layers += [nn.Conv3d(inputs, outputs, 3, padding=1), nn.BatchNorm3d(outputs), nn.ReLU(inplace=True), nn.MaxPool3d((1, 2, 2))]
    return nn.Sequential(*layers, nn.Conv3d(64, 64, 3, padding=1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool3d((2, 2, 2)), nn.Flatten(),
                         nn.Linear(512, classes)).to(memory_format=torch.channels_last_3d)


def train_judge(judge: nn.Module, video: Tensor, label: Tensor, steps: int, seed: int = 0, batch_size: int = 32) -> None:
    """AdamW with one cycle of the learning rate; clips are mirrored and their light varied, as no class depends on either."""
    optimizer = torch.optim.AdamW(judge.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for step in range(steps):
        draw = torch_generator(seed, "judge", step)
        chosen = torch.randint(len(video), (batch_size,), generator=draw)
        clips = to_float(video[chosen], torch.device("cpu"))
        clips = torch.where(torch.rand(batch_size, 1, 1, 1, 1, generator=draw) < 0.5, clips.flip(-1), clips)
        clips = clips * torch.empty(batch_size, 1, 1, 1, 1).uniform_(0.8, 1.2, generator=draw)
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(judge(clips), label[chosen]).backward()
        optimizer.step()
        schedule.step()


@torch.no_grad()
def probabilities(judge: nn.Module, clips: Tensor) -> Tensor:
    """Float clips (N, 3, T, H, W) in [-1, 1] -> what the judge gives each class, (N, classes)."""
    judge.eval()
    return torch.cat([judge(part).softmax(1) for part in clips.split(64)])


def right(given: Tensor, label: Tensor) -> float:
    """The share of clips whose likeliest class, by (N, classes), is ``label`` (N,)."""
    return (given.argmax(1) == label).float().mean().item()


def taught_judge(seed: int, video: Tensor, label: Tensor, held: Tensor, held_label: Tensor, steps: int, tries: int) -> nn.Module:
    """A judge that is right on ``NEEDED`` of the held-out clips. UserError if it does not get there."""
    torch.manual_seed(derive(seed, "judge"))
    judge = make_judge(int(label.max()) + 1)
    for attempt in range(1, tries + 1):
        judge.train()
        train_judge(judge, video, label, steps, seed)
        accuracy = right(probabilities(judge, held), held_label)
        print(f"judge {seed}: {accuracy:.1%} of {len(held)} held-out clips after {attempt * steps} steps", flush=True)
        if accuracy >= NEEDED:
            return judge
    raise UserError(f"the judge reaches {accuracy:.1%} on held-out clips, {NEEDED:.0%} are needed; give it more --clips or --judge_steps")


def samples_of(sampler: Sampler, drawn: Tensor, asked: Tensor) -> Tensor:
    """Candidates (B, N, latent_dim) -> the clips of those that :meth:`training.restore.Sampler.surest` chooses."""
    chosen = sampler.surest(drawn, asked) if drawn.shape[1] > 1 else torch.zeros(len(drawn), dtype=torch.int64)
    return sampler.sample(drawn[torch.arange(len(drawn)), chosen], asked).float()


def judge_checkpoint(path: str, each: int, clips: int, steps: int, tries: int, length: int, seeds: Sequence[int] = (0,),
                     best_of: Sequence[int] = (1,), truncations: Sequence[float] = (1.0,)) -> dict:
    """Train judges from the starts ``seeds`` for the classes of a checkpoint, by videos of ``length`` frames, hold each to its own bar, and
    let them judge ``each`` samples of every class; under "best_of_N" samples that are the one of N that the checkpoint's own critic is
    surest of, under "best_of_N_truncation_T" such of latents times T.

    Every judge's account, and that of all together, who give a clip the class of the largest mean probability.
    """
    sampler = load_sampler(path, device="cpu")
    config, classes = sampler.config, sampler.classes
    if not sampler.takes_labels:
        raise UserError(f"--checkpoint {path}: its generator takes no labels")
    if max(best_of) > 1 and not sampler.names_classes:
        raise UserError(f"--best_of {max(best_of)}: {sampler.family} has no critic that names classes; leave it at 1")
    _check_known(classes, f"--checkpoint {path}")
    shape, skip = (config.frames, config.height, config.width), config.frame_skip
    if length <= (config.frames - 1) * skip:
        raise UserError(f"--frames {length}: a clip spans {(config.frames - 1) * skip + 1} frames of a video; "
                        "give as many as the videos have")
    held, held_label = draw_clips(classes, 64, shape, skip, HELD_OUT, length)
    held = to_float(held, torch.device("cpu"))
    video, label = draw_clips(classes, clips, shape, skip, TRAINED_ON, length)
    judges = [taught_judge(seed, video, label, held, held_label, steps, tries) for seed in seeds]
    together = lambda clips: sum(probabilities(judge, clips) for judge in judges) / len(judges)
    asked = torch.arange(len(classes)).repeat_interleave(each)

    def account(number: int, truncation: float) -> dict:
        drawn = sampler.latents(len(asked) * number, seed=0).unflatten(0, (len(asked), number)) * truncation
        made = torch.cat([samples_of(sampler, *part) for part in zip(drawn.split(16), asked.split(16))])
        given = together(made)
        table = torch.zeros(len(classes), len(classes), dtype=torch.int64)
        table.index_put_((asked, given.argmax(1)), torch.ones(len(asked), dtype=torch.int64), accumulate=True)
        return {"accuracy": right(given, asked), "by_judge": [right(probabilities(judge, made), asked) for judge in judges],
                "per_class": (table.diagonal() / each).tolist(), "asked_by_found": table.tolist(),
                "variety": variety(made, asked) / variety(held, held_label)}

    return {"step": sampler.step, "classes": classes, "samples_per_class": each, "bar": BAR, "judge_needed": NEEDED,
            "judge_seeds": list(seeds), "held_out": right(together(held), held_label),
            "held_out_by_judge": [right(probabilities(judge, held), held_label) for judge in judges],
            **{f"best_of_{number}" + (f"_truncation_{truncation:g}" if truncation != 1 else ""): account(number, truncation)
               for number in best_of for truncation in truncations}}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--videos", help="write videos to train on to this folder")
    options.add_argument("--classes", default="horizontal_disc,vertical_disc,circle_disc,bounce_disc", help="comma-separated, or all")
    options.add_argument("--each", type=int, default=24, help="videos per class")
    options.add_argument("--frames", type=int, default=96, help="frames per video; give the same when a checkpoint is judged")
    options.add_argument("--size", type=int, default=32, help="height and width of the videos")
    options.add_argument("--checkpoint", help="run or checkpoint to judge")
    options.add_argument("--samples", type=int, default=100, help="samples per class")
    options.add_argument("--best_of", type=int, nargs="+", default=[1],
                         help="samples drawn for each one judged, that of which the critic is surest; several numbers: each in turn")
    options.add_argument("--truncation", type=float, nargs="+", default=[1.0], help="scales of the latents, each in turn")
    options.add_argument("--clips", type=int, default=300, help="clips per class that the judge learns from")
    options.add_argument("--judge_steps", type=int, default=300, help="steps between looks at the held-out clips")
    options.add_argument("--tries", type=int, default=5, help="how often the judge may go on for so many steps")
    options.add_argument("--judge_seeds", type=int, nargs="+", default=[0],
                         help="judges from several starts judge together, and show how far a verdict is to be trusted")
    options.add_argument("--output", default="benchmarks/results/labels.json")
    given = options.parse_args()
    if given.videos:
        classes = ALL if given.classes == "all" else given.classes.split(",")
        write_videos(Path(given.videos), classes, given.each, given.frames, given.size)
    if given.checkpoint:
        result = {"command": command(),
                  "machine": describe(),
                  **judge_checkpoint(given.checkpoint, given.samples, given.clips, given.judge_steps, given.tries,
                                     given.frames, given.judge_seeds, given.best_of, given.truncation)}
        write_json(Path(given.output), result)
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    script(main)
