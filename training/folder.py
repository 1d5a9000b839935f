"""The run directory: whose it is, what may be continued there, and what must not be overwritten."""

import os
import shutil
from pathlib import Path

import yaml

from configs.schema import TrainConfig, differences, from_dict
from data.layouts import find_split_lists
from data.synthetic import is_synthetic
from training import checkpoint
from training.log import read_rows
from training.registry import MODELS
from utils.errors import UserError
from utils.files import is_temporary, try_lock, writable_folder, write_text


class RunFolder:
    """``out``, checked before anything expensive is done and claimed when all else stands, so that a mistake displaces nothing."""

    def __init__(self, config: TrainConfig):
        """Refuses what must not be continued or overwritten; changes nothing yet."""
        self.path = writable_folder(Path(config.out), "--out")
        self.checkpoints, self.samples, self.evaluation = (self.path / name for name in ("checkpoints", "samples", "evaluation"))
        self._refuse_inside(config.data)
        self._refuse_foreign()
        if self.path.exists():
            os.close(_locked(self.path))
        if config.restart and Path.cwd().is_relative_to(self.path.resolve()):
            raise UserError(f"--out {self.path}: cannot be moved aside while it is the folder you are in; start from another")
        found = None if config.restart else checkpoint.latest(self.checkpoints)
        if found is not None:
            self._compare(config, found)
        elif not config.restart and (self.path / "config.yaml").exists():
            self._refuse_without_checkpoints()

    def claim(self, config: TrainConfig) -> None:
        """Make the folder this process's: locked, an old run moved aside if asked, cleared of a crash's leftovers."""
        if config.restart and self.path.exists():
            os.close(_locked(self.path))  # reading the videos took time; somebody may train there by now
            self._move_aside()
        for folder in (self.checkpoints, self.samples):
            _make(folder)
        self._lock = _locked(self.path)
        if found := checkpoint.latest(self.checkpoints):  # another run may have come and gone there while the videos were read
            self._compare(config, found)
        for folder in (self.path, self.checkpoints, self.samples, *self.evaluation.glob("*/")):
            for leftover in filter(is_temporary, [*folder.glob(".*.tmp*")]):
                shutil.rmtree(leftover, ignore_errors=True) if leftover.is_dir() else leftover.unlink()

    def write_config(self, config: TrainConfig) -> None:
        """``config.yaml``: what is being trained from here on."""
        write_text(self.path / "config.yaml", yaml.safe_dump(config.to_go_on(), sort_keys=False))

    def _compare(self, config: TrainConfig, found: Path) -> None:
        old = from_dict(checkpoint.read_state(found)["config"], MODELS, str(found))
        changed = differences(old, config)
        if changed:
            raise UserError(f"--out {self.path} holds a run with other settings ({'; '.join(changed[:4])}); "
                            "use another --out, the same settings, or --restart to move that run aside")

    def _refuse_inside(self, data: str) -> None:
        """What is written into the folder of videos would be among them the next time. Hidden folders there are not looked into, and
        where there are lists only what they name is read."""
        folder, out = Path(os.path.expanduser(data)), self.path.resolve()
        if is_synthetic(data) or not folder.is_dir() or find_split_lists(folder) or not out.is_relative_to(folder.resolve()):
            return
        if not any(part.startswith(".") for part in out.relative_to(folder.resolve()).parts):
            raise UserError(f"--out {self.path}: lies in --data {data}, where its films would be taken for videos to train on; take "
                            "another folder")

    def _refuse_without_checkpoints(self) -> None:
        """A run that ended before its first checkpoint begins anew; one that has come further would be lost."""
        path = self.path / "config.yaml"
        try:
            old = from_dict(yaml.safe_load(path.read_text(encoding="utf-8")), MODELS, str(path))
        except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError, UserError) as error:
            raise UserError(f"--out {self.path}: holds a config.yaml that is not one of a run here ({error}); give a new or empty "
                            "folder") from None
        reached = max((row["step"] for row in read_rows(self.path / "metrics.jsonl")), default=0)
        if reached > old.checkpoint_every:
            raise UserError(f"--out {self.path}: holds a run that came to step {reached}, but its checkpoints are gone; bring them back, "
                            "use another --out, or --restart to move it aside")

    def _refuse_foreign(self) -> None:
        """A folder that holds files but no run is somebody's: never fill it."""
        names = {path.name for path in self.path.iterdir()} if self.path.is_dir() else set()
        # A start that went no further than a mistake leaves its lock behind.
        if names - {".lock"} and not names & {"config.yaml", "checkpoints"}:
            raise UserError(f"--out {self.path}: the folder holds files but no run; give a new or empty folder")

    def _move_aside(self) -> None:
        path = self.path.resolve()  # behind a link, on the disk where it lies
        number = 1
        while (aside := path.with_name(f"{path.name}.{number}")).exists():
            number += 1
        path.rename(aside)
        path.mkdir()

    def drop_samples(self, last_step: int) -> None:
        """Those of steps after ``last_step``, which will be made again or are of weights that were gone back from."""
        for path in self.samples.glob("step_*"):
            step = path.stem.removeprefix("step_")
            if step.isdecimal() and int(step) > last_step:
                path.unlink()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {folder.parent}: cannot be written: {error.strerror}") from None


def _locked(folder: Path) -> int:
    """A file handle whose lock lives as long as the process; a second run into the same folder is refused."""
    try:
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(f"--out {folder}: cannot be written: {error.strerror}") from None
    if not try_lock(handle):
        os.close(handle)
        raise UserError(f"--out {folder}: another process is training there; wait for it, or use another --out")
    return handle
