"""Signals that end training in good order."""

import os
import signal
from contextlib import suppress

from utils import distributed


class Signals:
    """``received``: whether training is to end after the step. SIGTERM, SIGHUP (a connection that ended), SIGUSR1 (what schedulers send
    before they end a job) and the first SIGINT say so; a second SIGINT raises KeyboardInterrupt."""

    def __init__(self):
        self.received, self._before = False, {}

    def catch(self) -> None:
        """From here on. What a shell has ignored stays so: hangups by nohup, Ctrl-C of programs in the background."""
        wanted = [signal.SIGTERM, signal.SIGUSR1] + [number for number in (signal.SIGINT, signal.SIGHUP)
                                                     if signal.getsignal(number) is not signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._handle) for number in wanted}

    def release(self) -> None:
        """As they were before :meth:`catch`."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame) -> None:
        again, self.received = self.received, True
        if number != signal.SIGINT:
            return
        if again:
            raise KeyboardInterrupt
        if distributed.is_main():
            with suppress(OSError):  # whoever reads it may have been ended by the same Ctrl-C
                os.write(2, b"\nends in good order; Ctrl-C again ends at once, without a checkpoint\n")
