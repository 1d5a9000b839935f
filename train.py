"""Train a video generator from a folder of videos. The same command continues an interrupted run.

    python train.py                                              synthetic videos, small, minutes on a CPU
    python train.py --config configs/dcgan.yaml --data videos/ --out runs/city
"""

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
    from evaluate import EvaluateConfig
    from metrics.registry import choose
    from training.evaluation import flags

    choose(config.metrics)
    try:
        wanted = parse(EvaluateConfig, flags(config, "checkpoint", "output"))
    except (UserError, ValueError) as error:  # ValueError: a quotation mark without its other half
        raise UserError(f"--eval_flags {config.eval_flags}: {error}") from None
    chosen = wanted.checkpoint, wanted.output, wanted.metrics, wanted.num_samples
    if chosen != ("checkpoint", "output", config.metrics, config.eval_samples):
        raise UserError(f"--eval_flags {config.eval_flags}: checkpoint and output are chosen by training, metrics and num_samples by "
                        "--metrics and --eval_samples")


if __name__ == "__main__":
    script(main)
