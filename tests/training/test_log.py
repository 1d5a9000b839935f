"""What a row tells beside the losses, and what of earlier rows is void."""

import json
import math
from types import SimpleNamespace

import pytest

from training.log import Clock, Log, open_events


def test_speed_and_waiting_are_of_the_training_since_the_last_row(monkeypatch):
    now, batches = [100.0], SimpleNamespace(wait_seconds=5.0)
    monkeypatch.setattr("training.log.time", SimpleNamespace(monotonic=lambda: now[0]))
    clock = Clock(batches)
    now[0], batches.wait_seconds = 110.0, 7.0
    assert clock.numbers(10, 4) == pytest.approx({"seconds": 10, "data_wait": 0.2})
    now[0], batches.wait_seconds = 120.0, 8.0
    clock.skip(5.0)
    assert clock.numbers(30, 4) == pytest.approx({"seconds": 20, "data_wait": 0.2, "clips_per_second": 16})


def test_numbers_that_are_not_finite_are_words(tmp_path):
    log = Log(tmp_path, 0, 10, 1, tensorboard=False)
    log.row({"step": 1, "a": math.nan, "b": -math.inf, "c": 0.5})
    log.close()
    told = json.loads((tmp_path / "metrics.jsonl").read_text(), parse_constant=pytest.fail)
    assert told == {"step": 1, "a": "nan", "b": "-inf", "c": 0.5}


def test_tensorboard_forgets_what_a_run_that_goes_on_tells_again(tmp_path):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for start, steps, value in ((0, range(1, 6), 1.0), (3, range(4, 7), 2.0)):
        events = open_events(tmp_path, start)
        for step in steps:
            events.add_scalar("loss", value, step)
        events.close()
    found = accumulators.EventAccumulator(str(tmp_path), size_guidance={accumulators.SCALARS: 0})
    found.Reload()
    assert [(event.step, event.value) for event in found.Scalars("loss")] == [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2), (6, 2)]
