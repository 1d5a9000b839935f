"""A progress bar on a terminal, plain lines everywhere else (log files, CI, schedulers)."""

import sys
import time
from contextlib import suppress

from tqdm import tqdm


def note(text: str) -> None:
    """Print a line of its own without tearing a bar that may be there."""
    with suppress(BrokenPipeError):  # nobody reads any more; what was to be done is done all the same
        tqdm.write(text, file=sys.stderr)


class Progress:
    """Counts towards ``total``. On a terminal a tqdm bar; otherwise one line every ``every_seconds`` and one at the end."""

    def __init__(self, total: int, name: str, unit: str = "it", initial: int = 0, quiet: bool = False, every_seconds: float = 10.0):
        self.total, self.name, self.unit, self.count, self.quiet = total, name, unit, initial, quiet
        self._every, self._start, self._last, self._initial = every_seconds, time.monotonic(), time.monotonic(), initial
        terminal = sys.stderr.isatty() and not quiet
        self._bar = tqdm(total=total, initial=initial, desc=name, unit=unit, dynamic_ncols=True) if terminal else None
        self._postfix, self._told = "", initial

    def update(self, count: int = 1, **numbers: float) -> None:
        """Advance by ``count``; ``numbers`` are shown beside the bar (losses, for one)."""
        self.count += count
        if numbers:
            self._postfix = "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        if self._bar is not None:
            self._bar.set_postfix_str(self._postfix, refresh=False)
            self._bar.update(count)
        elif time.monotonic() - self._last >= self._every:
            self._line()

    def note(self, text: str) -> None:
        """Print a line of its own without tearing the bar."""
        if not self.quiet:
            note(text)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self.count > self._told:
            self._line()

    def _line(self) -> None:
        self._last, self._told = time.monotonic(), self.count
        if self.quiet:
            return
        seconds = self._last - self._start
        rate = (self.count - self._initial) / max(seconds, 1e-9)
        left = (self.total - self.count) / rate if rate else float("inf")
        clock = f"{seconds:.0f}s gone, {left:.0f}s left" if self.count < self.total else f"{seconds:.0f}s"
        with suppress(BrokenPipeError):
            print(f"{self.name}: {self.count}/{self.total} {self.unit}  {rate:.3g} {self.unit}/s  {clock}  {self._postfix}".rstrip(),
                  file=sys.stderr, flush=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
