"""Devices of several processes, on a machine that has none of them."""

import pytest
import torch

from utils import distributed, hardware
from utils.errors import ToldElsewhere, UserError


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


@pytest.mark.parametrize("capability, fast", [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_auto_takes_bf16_where_the_hardware_is_faster_in_it(monkeypatch, capability, fast):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(hardware, "_cpu_is_fast_in_bf16", lambda: fast)
    for device in (torch.device("cuda", 0), torch.device("cpu")):
        assert hardware.pick_dtype("auto", device) is (torch.bfloat16 if fast else torch.float32)
        assert [hardware.pick_dtype(name, device) for name in ("fp32", "bf16")] == [torch.float32, torch.bfloat16]
    assert hardware.pick_dtype("auto", torch.device("mps")) is torch.float32


@pytest.mark.parametrize("vendor, avx512, amx, fast", [
    ("AuthenticAMD", True, False, True), ("GenuineIntel", True, False, False), ("GenuineIntel", True, True, True),
    ("AuthenticAMD", False, False, False)])
def test_bfloat16_is_taken_on_a_cpu_that_is_faster_in_it(monkeypatch, vendor, avx512, amx, fast):
    monkeypatch.setattr(hardware, "_cpu_info", lambda: f"vendor_id : {vendor}")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert hardware.pick_dtype("auto", torch.device("cpu")) is (torch.bfloat16 if fast else torch.float32)


def test_float32_is_whole_on_cuda_where_it_is_asked_for():
    before = torch.backends.cudnn.allow_tf32
    for context in (hardware.full_float32(torch.device("cuda")), hardware.sampling(torch.float32, torch.device("cuda"))):
        with context:
            assert not torch.backends.cudnn.allow_tf32
        assert torch.backends.cudnn.allow_tf32 == before
    with hardware.sampling(torch.bfloat16, torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.bfloat16
    assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.float32


def test_the_first_process_is_through_before_the_others_begin(monkeypatch):
    for rank, expected in ((0, ["body", False]), (1, [False, "body"])):
        done = []
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        monkeypatch.setattr(distributed, "any_of", done.append)
        with distributed.main_first():
            done.append("body")
        assert done == expected


@pytest.mark.parametrize("failed", [lambda flag: True, pytest.param(lambda flag: dist_error(), id="it is gone")])
def test_the_others_end_with_the_first_process(monkeypatch, failed):
    """Whether it tells them or has gone away."""
    monkeypatch.setattr(distributed, "any_of", failed)
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    with pytest.raises(ToldElsewhere), distributed.main_first():
        raise AssertionError("the body is not for them")
    monkeypatch.setattr(distributed, "rank", lambda: 0)
    with pytest.raises(UserError, match="no such file"), distributed.main_first():
        raise UserError("no such file")


def dist_error():
    raise torch.distributed.DistNetworkError("Connection closed by peer")
