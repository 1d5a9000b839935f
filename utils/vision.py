"""Makes ``import torchvision``, and whatever imports it, safe: import this module first.

The registry's wheel of torchvision is built for CUDA. Beside a CPU-only torch its compiled operators do not load, and
its import stops at the first operator whose schema it expects. Declaring the two it asks for is enough: all that is
used here is plain Python.
"""

import sys

import torch

_SCHEMAS = ("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
            "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

try:
    import torchvision  # noqa: F401
except RuntimeError:
    for _name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[_name]
    LIBRARY = torch.library.Library("torchvision", "DEF")  # its schemas live as long as it does
    for _schema in _SCHEMAS:
        LIBRARY.define(_schema)
    import torchvision  # noqa: F401
