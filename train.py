"""Train a video generator from a folder of videos. The same command continues an interrupted run.

    python train.py                                              synthetic videos, small, minutes on a CPU
    python train.py --config configs/dcgan.yaml --data videos/ --out runs/city
"""

from pathlib import Path

from configs.cli import parse
from configs.schema import TrainConfig
from training.registry import MODELS
from utils.errors import UserError, script


def main() -> int:
    config = parse(TrainConfig, description=__doc__, models=MODELS)
    if config.eval_every:
        check_evaluation(config)
    # Imported late so that --help and a wrong flag answer at once.
    if config.dry_run:
        from training.dry_run import dry_run
        return dry_run(config)
    from training.loop import train
    return train(config)


def check_evaluation(config: TrainConfig) -> None:
    """What evaluate.py would refuse is refused now, not when the first checkpoint is there."""
    import torch

    from data.synthetic import is_synthetic
    from evaluate import EvaluateConfig, merge_weights
    from evaluation.networks import split_weights
    from evaluation.sources import check_clips
    from metrics.networks.network import KINDS
    from metrics.networks.weights import SOURCES, MissingWeights, find_weights
    from metrics.registry import choose
    from training.evaluation import flags
    from training.setup import build_task
    from training.task import DataInfo

    decides, chosen = config.metric_names()[0], choose(config.metrics)
    with torch.device("meta"):
        task = build_task(config, DataInfo(), torch.device("meta"))
    if pairs := [name for name, metric in chosen.items() if metric.kind == "pairs" and not getattr(task, "takes_image", False)]:
        why = "which generate.py --keyframe_interval does" if task.wants_video else f"and clips of {config.family} have none"
        raise UserError(f"--metrics {config.metrics}: {', '.join(pairs)} would compare each frame with its reference, {why}; "
                        "leave it out")
    # How long the clips must be that a network looks at is known once it is loaded.
    check_clips({name: metric for name, metric in chosen.items() if not metric.needs}, {}, config.data_kwargs(), "this run")
    try:
        wanted = parse(EvaluateConfig, merge_weights(flags(config, "checkpoint", "output")))
    except (UserError, ValueError) as error:  # ValueError: a quotation mark without its other half
        raise UserError(f"--eval_flags {config.eval_flags}: {error}") from None
    asked = wanted.checkpoint, wanted.output, wanted.metrics, wanted.num_samples
    if asked != ("checkpoint", "output", config.metrics, config.eval_samples):
        raise UserError(f"--eval_flags {config.eval_flags}: checkpoint and output are chosen by training, metrics and num_samples by "
                        "--metrics and --eval_samples")
    own, given = split_weights(wanted.weights)
    if own is not None and Path(own).expanduser().resolve().is_relative_to(Path(config.out).resolve()):
        raise UserError(f"--eval_flags {config.eval_flags}: the discriminator of this run changes, and with it what a distance means; "
                        "name another run")
    for flag, place in (("--data ", wanted.data), ("--weights own=", own)):
        if place is not None and not (is_synthetic(place) or Path(place).expanduser().exists()):
            raise UserError(f"--eval_flags {config.eval_flags}: {flag}{place}: there is no such file or folder")
    for name, metric in chosen.items():
        if metric.network == "own" and own is None:
            raise UserError(f"--metrics {config.metrics}: {name} takes the features of a discriminator of yours; name its run, "
                            '--eval_flags "--weights own=RUN"')
        files = KINDS[metric.network].files if metric.network in KINDS else {metric.network} & set(SOURCES)
        try:
            for file in files:
                if "://" not in given.get(file, ""):  # the first evaluation fetches it
                    find_weights(file, given)
        except MissingWeights as error:
            if name == decides:
                raise UserError(f"--metrics {config.metrics}: {name} tells which checkpoint is best, and cannot be computed: {error}; "
                                "or name another by --best") from None


if __name__ == "__main__":
    script(main)
