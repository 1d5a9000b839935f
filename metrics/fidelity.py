"""torch-fidelity, whose own code computes the metrics that it has."""

import importlib
from types import ModuleType


def fidelity(module: str) -> ModuleType:
    """``torch_fidelity.MODULE``. Imported when it is first asked for: it and torchvision, which it imports, take seconds."""
    from utils import vision  # noqa: F401  before what imports torchvision
    # isort: split
    import torch_fidelity

    return importlib.import_module(f"{torch_fidelity.__name__}.{module}")
