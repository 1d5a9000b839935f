"""What training says while it runs: metrics.jsonl, TensorBoard, the progress bar."""

import json
import math
from pathlib import Path

from training.folder import RunFolder
from utils.progress import Progress


class Log:
    """One object per logged step in ``metrics.jsonl``; the same numbers to TensorBoard and the bar."""

    def __init__(self, folder: RunFolder, start: int, total: int, log_every: int, tensorboard: bool):
        folder.truncate("metrics.jsonl", start, log_every)
        self._file = open(folder.path / "metrics.jsonl", "a", buffering=1)
        self._writer = None
        if tensorboard:
            # Imported here: it takes a second that --help and tests need not spend.
            from torch.utils.tensorboard import SummaryWriter
            self._writer = SummaryWriter(str(folder.path), purge_step=start + 1)
        self.progress = Progress(total, "train", "steps", initial=start)

    def row(self, row: dict[str, float]) -> None:
        """Non-finite numbers become strings: JSON has no NaN."""
        safe = {name: value if math.isfinite(value) else str(value) for name, value in row.items()}
        self._file.write(json.dumps(safe) + "\n")
        if self._writer:
            for name, value in row.items():
                self._writer.add_scalar(name, value, row["step"])

    def picture(self, name: str, picture, step: int) -> None:
        """uint8 RGB (H, W, 3)."""
        if self._writer:
            self._writer.add_image(name, picture, step, dataformats="HWC")
            self._writer.flush()

    def close(self) -> None:
        self.progress.close()
        self._file.close()
        if self._writer:
            self._writer.close()


def read_rows(path: Path) -> list[dict]:
    """All rows of a metrics.jsonl; a last line cut short by a crash is left out."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows
