"""Devices of several processes, on a machine that has none of them."""

import pytest
import torch

from utils import distributed, hardware
from utils.errors import UserError


def test_more_processes_than_gpus_are_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert hardware.pick_device("auto", 1) == torch.device("cuda", 1)
    with pytest.raises(UserError, match=r"more processes than this machine has GPUs \(2\)"):
        hardware.pick_device("cuda", 2)


def test_each_process_works_on_its_own_gpu(monkeypatch):
    """NCCL exchanges objects on the current one."""
    chosen = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    distributed.start(torch.device("cuda", 1))
    distributed.start(torch.device("cpu"))
    assert chosen == [torch.device("cuda", 1)]
