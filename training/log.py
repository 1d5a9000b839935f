"""What training says while it runs: metrics.jsonl, TensorBoard, the progress bar."""

import json
import math
import time
from contextlib import suppress
from pathlib import Path

from data.batches import Batches
from utils.files import write_text
from utils.progress import Progress


class Log:
    """One object per logged step in ``metrics.jsonl``; the same numbers to TensorBoard and the bar."""

    def __init__(self, folder: Path, start: int, total: int, log_every: int, tensorboard: bool):
        _truncate(folder / "metrics.jsonl", start, log_every)
        _truncate(folder / "evaluations.jsonl", start, 1)
        self._file = open(folder / "metrics.jsonl", "a", buffering=1)
        self.events = open_events(folder, start) if tensorboard else None
        self.progress = Progress(total, "train", "steps", initial=start)

    def row(self, row: dict[str, float]) -> None:
        """Non-finite numbers become strings: JSON has no NaN."""
        safe = {name: value if math.isfinite(value) else str(value) for name, value in row.items()}
        self._file.write(json.dumps(safe) + "\n")
        if self.events:
            for name, value in row.items():
                self.events.add_scalar(name, value, row["step"])

    def picture(self, name: str, picture, step: int) -> None:
        """uint8 RGB (H, W, 3)."""
        if self.events:
            self.events.add_image(name, picture, step, dataformats="HWC")
            self.events.flush()

    def close(self) -> None:
        self.progress.close()
        self._file.close()
        if self.events:
            self.events.close()


class Clock:
    """Speed and waiting since the last logged row, without the time that samples and checkpoints take."""

    def __init__(self, batches: Batches):
        self._batches, self._begin = batches, time.monotonic()
        self._start, self._waited, self._step = self._begin, batches.wait_seconds, None

    def skip(self, seconds: float) -> None:
        self._start += seconds

    def numbers(self, step: int, batch_size: int) -> dict[str, float]:
        """The last columns of a row: seconds since the start, the share of time spent waiting for clips, clips per second."""
        now, waited = time.monotonic(), self._batches.wait_seconds
        seconds = max(now - self._start, 1e-9)
        steps = step - self._step if self._step is not None else 0
        numbers = {"seconds": now - self._begin, "data_wait": (waited - self._waited) / seconds}
        if steps:
            numbers["clips_per_second"] = steps * batch_size / seconds
        self._start, self._waited, self._step = now, waited, step
        return numbers


def open_events(run: Path, step: int):
    """TensorBoard's writer into a run directory; what an earlier one told of steps after ``step`` is void."""
    # Imported here: it takes a second that --help and tests need not spend.
    from torch.utils.tensorboard import SummaryWriter
    return SummaryWriter(str(run), purge_step=step + 1)


def read_rows(path: Path) -> list[dict]:
    """All rows of a JSON-lines file, none if there is no file; a line cut short by a crash is left out."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        with suppress(ValueError):
            rows.append(json.loads(line))
    return rows


def write_rows(path: Path, rows: list[dict]) -> None:
    """A JSON-lines file of these rows, in place of what was there."""
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def of_reals(row: dict, name: str) -> str:
    """What the value of real clips beside a metric's is, in a line of evaluations: theirs alone, or the distance between two halves."""
    return "real clips" if name in row.get("alone", []) else "real against real"


def _truncate(path: Path, last_step: int, every: int) -> None:
    """Drop the rows that tell of steps after ``last_step``: they will be written again. The last one, which closed a run that now goes on,
    goes too unless its step is a multiple of ``every``."""
    if path.exists():
        rows = [row for row in read_rows(path) if row["step"] <= last_step]
        if rows and rows[-1]["step"] % every:
            rows.pop()
        write_rows(path, rows)
