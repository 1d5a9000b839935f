"""Train a video generator from a folder of videos. The same command continues an interrupted run.

    python train.py                                              synthetic videos, small, minutes on a CPU
    python train.py --config configs/dcgan.yaml --data videos/ --out runs/city
"""

from configs.cli import parse
from configs.schema import TrainConfig
from training.registry import MODELS
from utils.errors import script


def main() -> int:
    config = parse(TrainConfig, description=__doc__, models=MODELS)
    # Imported late so that --help and a wrong flag answer at once.
    if config.dry_run:
        from training.dry_run import dry_run
        return dry_run(config)
    from training.loop import train
    return train(config)


if __name__ == "__main__":
    script(main)
