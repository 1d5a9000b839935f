"""torchvision, whichever PyTorch it stands beside: import this module before anything that imports torchvision.

The wheel of torchvision in the registry is built for CUDA. Beside a CPU-only PyTorch its compiled operators do not load, and
``import torchvision`` stops because ``nms`` and ``qnms`` have no schema. With the two defined first all that is written in
Python works, and nothing else of it is used here.
"""

import sys

import torch

try:
    import torchvision
except RuntimeError:
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]  # half imported
    _schemas = torch.library.Library("torchvision", "DEF")  # they last as long as this object does
    for operator in ("nms", "qnms"):
        _schemas.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

__all__ = ["torchvision"]
