"""Signals that end training in good order."""

import os
import signal

from utils import distributed


class Signals:
    """``received``: whether training is to end after the step. SIGTERM, SIGHUP (a connection that ended), SIGUSR1 (what schedulers send
    before they end a job) and the first SIGINT say so; a second SIGINT raises KeyboardInterrupt."""

    def __init__(self):
        self.received, self._before = False, {}

    def catch(self) -> None:
        """From here on; what is ignored, as nohup has it, stays so."""
        wanted = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
        self._before = {number: signal.signal(number, self._handle) for number in wanted if signal.getsignal(number) is not signal.SIG_IGN}

    def release(self) -> None:
        """As they were before :meth:`catch`."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame) -> None:
        if number == signal.SIGINT:
            if self.received:
                raise KeyboardInterrupt
            if distributed.is_main():
                os.write(2, b"\nends after this step, with a checkpoint; Ctrl-C again ends at once, without\n")
        self.received = True
