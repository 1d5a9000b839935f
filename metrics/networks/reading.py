"""Files of weights -> tensors, without ever unpickling code.

safetensors and NumPy archives hold numbers alone; ``.pth`` files are read by PyTorch's restricted reader, which refuses all but
tensors and plain containers. TorchScript is the exception: it is a program, run in PyTorch's own interpreter. Only networks that
exist in no other form take one, and only a file that the user named or put into the folder of weights.
"""

import warnings
import zipfile
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from utils.errors import UserError


def read_tensors(name: str, path: Path) -> dict[str, Tensor]:
    """A state dict from ``.safetensors`` or, by any other name, what torch.save wrote. UserError if it is neither."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings(action="ignore"):  # of what it then refuses
            found = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise UserError(f"{_what(name, path)}: not a safetensors file ({error}); give the file as published") from None
    except Exception as error:  # whatever the reader stumbles over: the file is not what it should be
        reason = str(error).split(". ")[0].splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{_what(name, path)}: not a file of tensors ({reason[:120]}); give the file as published, or a safetensors "
                        "file") from None
    if not isinstance(found, dict) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise UserError(f"{_what(name, path)}: holds no table of tensors by name; give the file as published, or a safetensors file")
    return dict(found)


def read_arrays(name: str, path: Path) -> dict[str, Tensor]:
    """Tensors from a NumPy archive, ``.npz``. UserError if it is none, or holds Python objects."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: torch.from_numpy(archive[key]) for key in archive.files}
    except (ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{_what(name, path)}: not a NumPy archive of numbers ({error}); give the file as published") from None


def read_script(name: str, path: Path, device: torch.device) -> torch.jit.ScriptModule:
    """A TorchScript program, ready to run. UserError if the file is none."""
    try:
        return torch.jit.load(str(path), map_location=device).eval()
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{_what(name, path)}: not a TorchScript file ({reason[:120]}); make one with torch.jit.save") from None


def fill(module: nn.Module, tensors: dict[str, Tensor], name: str, path: Path) -> None:
    """Load ``tensors`` into ``module``; further ones are ignored. UserError if one is missing or of another shape."""
    own = {key: value for key, value in module.state_dict().items() if not key.endswith("num_batches_tracked")}
    for key, value in own.items():
        if key not in tensors or tensors[key].shape != value.shape:
            found = f"{key} is {tuple(tensors[key].shape)}, not {tuple(value.shape)}" if key in tensors else f"{key} is missing"
            raise UserError(f"{_what(name, path)}: no weights of {name} ({found}); give the file as published")
    module.load_state_dict({key: tensors[key] for key in own}, strict=False)


def _what(name: str, path: Path) -> str:
    return f"weights of {name}, {path}"
