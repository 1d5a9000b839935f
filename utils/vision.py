"""The only place that imports torchvision. A library that imports it (torch_fidelity, torchmetrics' LPIPS) is imported after this.

torchvision's wheel is built for CUDA. Beside a PyTorch for CPUs its compiled operators do not load, and ``import torchvision``
stops with "operator torchvision::nms does not exist": it tells PyTorch what shapes two of them return. Once their signatures are
declared the import goes through, and what is written in Python, all that is used here, works. Where the operators load, nothing
is declared.
"""

import contextlib
import importlib
import sys

import torch

try:
    torchvision = importlib.import_module("torchvision")
except RuntimeError as error:
    if "torchvision::" not in str(error):
        raise
    for _name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[_name]  # imported by half
    _LIBRARY = torch.library.Library("torchvision", "FRAGMENT")  # what it declares lasts as long as it does
    for _name in ("nms", "qnms"):
        with contextlib.suppress(RuntimeError):  # declared already
            _LIBRARY.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    torchvision = importlib.import_module("torchvision")
