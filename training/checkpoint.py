"""A checkpoint is data, not code: a folder of safetensors and JSON that appears whole or not at all.

    checkpoints/step_000500/nets.safetensors  ema.safetensors  optimizer.safetensors  state.json
    checkpoints/latest                         a text file that names the newest one; moved last
    checkpoints/best                           likewise the best one, where evaluations told it
"""

import json
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from torch.optim import Optimizer

from utils.errors import UserError
from utils.files import allow_all, atomic_folder, temporary_beside, write_text

FORMAT = 1
POINTERS = ("latest", "best")


def name_of(step: int, rollbacks: int = 0) -> str:
    """A rollback writes its step anew under a name of its own: a full folder cannot be replaced in one move."""
    return f"step_{step:06d}" + (f"_r{rollbacks}" if rollbacks else "")


def save(folder: Path, name: str, groups: dict[str, dict[str, torch.Tensor]], state: dict, keep: int,
         held: Collection[str] = ()) -> Path:
    """Write ``groups`` (file name -> tensors) and ``state`` as ``folder/name``, point ``latest`` to it, and :func:`prune`."""
    target = folder / name
    if not target.exists():
        with atomic_folder(target) as temporary:
            for group, tensors in groups.items():
                _save_tensors(temporary / f"{group}.safetensors", tensors)
            (temporary / "state.json").write_text(json.dumps({"format": FORMAT, **state}, indent=1))
    point(folder, "latest", name)
    prune(folder, keep, held)
    return target


def prune(folder: Path, keep: int, held: Collection[str] = ()) -> None:
    """Delete all but the ``keep`` newest :func:`regular` ones, those that ``latest`` and ``best`` name, and ``held``. (What an
    interruption adds goes with the next one: a run must not depend on it.)"""
    kept = {path.name for path in regular(folder)[-keep:]} | {path.name for path in map(partial(named, folder), POINTERS) if path}
    for old in listed(folder):
        if old.name not in kept and old.name not in held:
            _remove(old)


def point(folder: Path, pointer: str, name: str) -> None:
    """Let ``latest`` or ``best`` name a checkpoint, in one move."""
    write_text(folder / pointer, name + "\n")


def named(folder: Path, pointer: str) -> Path | None:
    """The checkpoint that ``latest`` or ``best`` names, if it is there."""
    name = (folder / pointer).read_text().strip() if (folder / pointer).is_file() else ""
    return folder / name if name and (folder / name).is_dir() else None


def regular(folder: Path) -> list[Path]:
    """Checkpoints at a multiple of the ``checkpoint_every`` that their run had then, oldest first."""
    return [path for path in listed(folder) if order(path)[1] % _every(path) == 0]


def _every(checkpoint: Path) -> int:
    try:
        return json.loads((checkpoint / "state.json").read_text())["config"]["checkpoint_every"]
    except (OSError, ValueError, KeyError):
        return 1  # damaged: it is left where it is


def _remove(checkpoint: Path) -> None:
    """Out of sight in one move, then deleted: a crash between must not leave half a checkpoint that looks like one."""
    hidden = temporary_beside(checkpoint)
    checkpoint.rename(hidden)
    shutil.rmtree(hidden, ignore_errors=True)  # a network file system keeps names of files that somebody still reads


def listed(folder: Path) -> list[Path]:
    """Checkpoints in ``folder``, oldest first."""
    found = [path for path in folder.glob("step_*") if re.fullmatch(r"step_\d+(_r\d+)?", path.name)]
    return sorted(found, key=order)


def order(path: Path) -> tuple[int, int]:
    """(rollbacks, step): after a rollback, earlier steps are newer."""
    step, _, rollbacks = path.name.removeprefix("step_").partition("_r")
    return int(rollbacks or 0), int(step)


def latest(folder: Path) -> Path | None:
    """The newest checkpoint of a ``checkpoints`` folder, or None."""
    return named(folder, "latest") or (listed(folder) or [None])[-1]


def find(path: str | Path) -> Path:
    """A run directory, its ``checkpoints`` folder, one checkpoint or ``checkpoints/best`` -> the checkpoint; UserError if none."""
    path = Path(path)
    if not path.exists():
        raise UserError(f"--checkpoint {path}: there is no such run or checkpoint")
    if path.is_file() and path.name in POINTERS:
        path = named(path.parent, path.name) or path
    if (path / "state.json").is_file():
        return path
    for folder in (path / "checkpoints", path):
        found = latest(folder) if folder.is_dir() else None
        if found:
            return found
    raise UserError(f"--checkpoint {path}: holds no checkpoint; give a run directory or one of its checkpoints/step_* folders")


def read_state(checkpoint: Path) -> dict:
    """``state.json``; UserError when it is missing, cut short, or of another format."""
    try:
        state = json.loads((checkpoint / "state.json").read_text())
    except (OSError, ValueError) as error:
        raise UserError(_unreadable(checkpoint / "state.json", error)) from None
    found = state.get("format") if isinstance(state, dict) else None
    if found != FORMAT:
        raise UserError(f"{checkpoint}: written in format {found}, this version reads {FORMAT}")
    return state


class Stored(Mapping):
    """The tensors of a safetensors file by name, on the CPU, each read when it is asked for: nothing is kept."""

    def __init__(self, path: Path):
        """UserError when the file is missing or cut short."""
        self._path = path
        with self._open() as file:
            self._names = dict.fromkeys(file.keys())

    def __getitem__(self, name: str) -> torch.Tensor:
        if name not in self._names:
            raise KeyError(name)
        # Opened anew for each: what has been read of a mapped file counts as this process's memory until the file is closed.
        with self._open() as file:
            return file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def _open(self) -> safe_open:
        try:
            return safe_open(self._path, framework="pt")
        except (OSError, SafetensorError) as error:
            raise UserError(_unreadable(self._path, error)) from None


def read_tensors(checkpoint: Path, group: str) -> Stored:
    """One safetensors file of a checkpoint; UserError when it is missing or cut short."""
    return Stored(checkpoint / f"{group}.safetensors")


def _unreadable(path: Path, error: Exception) -> str:
    if path.exists() and not os.access(path, os.R_OK):
        return f"{path}: no permission to read it"
    return f"{path}: damaged or incomplete checkpoint ({error}); delete the folder {path.parent.name} to use the one before it"


def _save_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        save_file(contiguous, path)
        allow_all(path)
    except SafetensorError as error:
        # The library wraps the system's error in text; a full disk has to surface as one.
        code = re.search(r"os error (\d+)", str(error))
        raise OSError(int(code.group(1)), str(error), str(path)) if code else error


def not_finite(nets: dict[str, nn.Module]) -> list[str]:
    """Names of the networks that hold a NaN or an infinity."""
    return [name for name, net in nets.items()
            if not all(torch.isfinite(value).all() for value in net.state_dict().values() if value.is_floating_point())]


def net_tensors(nets: dict[str, nn.Module]) -> dict[str, torch.Tensor]:
    """Every parameter and buffer as ``network.name``."""
    return {f"{name}.{key}": value for name, net in nets.items() for key, value in net.state_dict().items()}


@torch.no_grad()
def load_nets(nets: dict[str, nn.Module], tensors: Mapping[str, torch.Tensor], where: Path) -> None:
    """The inverse of :func:`net_tensors`, one tensor at a time; UserError when names or shapes do not fit."""
    for name, net in nets.items():
        own = {f"{name}.{key}": value for key, value in net.state_dict().items()}
        stored = {key for key in tensors if key.startswith(name + ".")}
        if own.keys() != stored:
            odd = ", ".join(sorted(own.keys() ^ stored)[:3])
            raise UserError(f"{where}: does not fit the network {name!r}: {odd} in only one of the two")
        for key, value in own.items():
            found = tensors[key]
            if found.shape != value.shape:
                raise UserError(f"{where}: does not fit the network {name!r}: "
                                f"{key} is {tuple(found.shape)} there, {tuple(value.shape)} here")
            value.copy_(found)


def optimizer_tensors(optimizers: dict[str, Optimizer]) -> dict[str, torch.Tensor]:
    """Every state tensor as ``optimizer.index.name``."""
    return {f"{name}.{index}.{key}": value for name, optimizer in optimizers.items()
            for index, entry in optimizer.state_dict()["state"].items() for key, value in entry.items()}


def load_optimizers(optimizers: dict[str, Optimizer], tensors: Mapping[str, torch.Tensor]) -> None:
    """The inverse of :func:`optimizer_tensors`. Learning rates come from the config, not from here."""
    for name, optimizer in optimizers.items():
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        state: dict[int, dict[str, torch.Tensor]] = {}
        for full in tensors:
            owner, index, key = full.rsplit(".", 2)
            if owner == name:
                # Moments must lie in memory as their parameter does: fused kernels walk both with one pointer.
                like, value = parameters[int(index)], tensors[full]
                same = value.shape == like.shape
                state.setdefault(int(index), {})[key] = torch.empty_like(like, dtype=value.dtype).copy_(value) if same else value.clone()
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
