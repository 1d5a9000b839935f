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
        """From here on. A hangup that is ignored, as nohup has it, stays so."""
        wanted = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            wanted.append(signal.SIGHUP)
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
