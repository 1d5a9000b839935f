"""Worker processes that survive a decoder which crashes or hangs on one file.

A video decoder is C code fed with other people's bytes: it may end its process or never come back. Each worker runs one
task at a time and shows signs of life while it works; one that dies or falls silent is replaced, and its task alone fails,
if it does so a second time.
"""

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import wait

SILENCE_SECONDS = 60.0  # a worker that shows no sign of life for this long hangs
_BEAT_SECONDS = 0.2
_SLICE_SECONDS = 1.0  # for which answers are waited for; what takes much longer is a pause, of this process and its workers
_PATIENCE_SECONDS = 3.0  # for a worker to remove what it was writing


@dataclass(frozen=True)
class Failure:
    """What became of a task whose worker did not live to answer."""

    reason: str


class Beat:
    """Handed to a task: call it with the amount of work just done, now and then, to show that the worker lives."""

    def __init__(self, connection, parent: int):
        self._connection, self._parent, self._count, self._last = connection, parent, 0, time.monotonic()

    def __call__(self, count: int = 1) -> None:
        self._count += count
        if time.monotonic() - self._last >= _BEAT_SECONDS:
            self.flush()

    def flush(self) -> None:
        if os.getppid() != self._parent:  # nobody waits for the answer any more
            os._exit(1)
        self._connection.send(("beat", self._count))
        self._count, self._last = 0, time.monotonic()


def cpu_count() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class WorkerPool:
    """``workers`` processes, started when first needed. Use as a context manager.

    ``context`` is a multiprocessing start method: "fork", which None stands for on Linux, or "spawn", which it stands for elsewhere.
    With "forkserver", Python's own from 3.14 on, workers are not children of this process and could not tell that it ended.
    """

    def __init__(self, workers: int | None = None, *, context: str | None = None, silence: float = SILENCE_SECONDS):
        self.workers, self.silence = max(1, workers or cpu_count()), silence
        self._context = multiprocessing.get_context(context or ("fork" if sys.platform == "linux" else "spawn"))
        self._slots: list[_Slot] = []

    def map(self, function: Callable, tasks: list, on_beat: Callable[[int], None] = lambda count: None,
            on_done: Callable[[int, object], None] = lambda task, result: None) -> list:
        """``function(task, beat)`` for every task, results in the order of the tasks; a :class:`Failure` where a worker died, and died
        again when the others were done and it had the machine to itself: one short of memory kills decoders too.

        ``function`` must be a module's own (picklable) function. ``on_beat`` gets the work counted by the tasks, ``on_done`` the
        number and the result of each finished task. An exception inside ``function`` stops everything and is raised here.
        """
        results: list = [None] * len(tasks)
        waiting, again, failed = list(range(len(tasks)))[::-1], [], set()
        while len(self._slots) < min(self.workers, len(tasks)):
            self._slots.append(_Slot(self._context))

        def finish(slot: _Slot, result) -> None:
            number, slot.task = slot.task, None
            if isinstance(result, Failure) and number not in failed:
                failed.add(number)
                again.append(number)
            else:
                results[number] = result
                on_done(number, result)

        heard = time.monotonic()
        while True:
            busy = {slot.connection: slot for slot in self._slots if slot.task is not None}
            for slot in self._slots:
                if slot.task is None and (waiting or again and not busy):
                    slot.give((waiting or again).pop(), function, tasks, self.silence)
                    busy[slot.connection] = slot
            if not busy:
                return results
            patience = max(0.0, min(_SLICE_SECONDS, min(slot.deadline for slot in busy.values()) - time.monotonic()))
            ready = wait(list(busy), timeout=patience)
            now = time.monotonic()
            stopped, heard = now - heard - patience, now
            for slot in busy.values():
                # Whoever stops a job, or a whole machine, stops its workers too: they are given that time.
                slot.deadline += stopped if stopped > _SLICE_SECONDS else 0.0
                if heard > slot.deadline and not slot.connection.poll():
                    finish(slot, Failure(f"the decoder hung: no sign of life for {self.silence:.0f} s"))
                    slot.stop()
            for connection in ready:
                slot = busy[connection]
                kind, value = slot.receive()
                if kind == "beat":
                    slot.deadline = time.monotonic() + self.silence
                    on_beat(value)
                elif kind == "raise":
                    raise value
                else:
                    finish(slot, value)

    def close(self) -> None:
        for slot in self._slots:
            slot.ask_to_stop()
        for slot in self._slots:
            slot.stop(_PATIENCE_SECONDS)
        self._slots.clear()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class _Slot:
    """A place for one worker process, refilled when the process is lost."""

    def __init__(self, context):
        self._context, self.process, self.connection, self.task, self.deadline = context, None, None, None, 0.0

    def give(self, number: int, function: Callable, tasks: list, silence: float) -> None:
        if self.process is None or not self.process.is_alive():
            self.stop()
            self.connection, theirs = self._context.Pipe()
            self.process = self._context.Process(target=_serve, args=(theirs, os.getpid()), daemon=True)
            self.process.start()
            theirs.close()  # so that the worker's death is the end of the pipe
        self.task, self.deadline = number, time.monotonic() + silence
        try:
            self.connection.send((function, tasks[number]))
        except OSError:
            pass  # it died meanwhile; receive() will say so

    def receive(self) -> tuple:
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode
            self.process = None
            how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
            return "done", Failure(f"the decoder crashed ({how})")

    def ask_to_stop(self) -> None:
        if self.process is not None:
            self.process.terminate()

    def stop(self, patience: float = 0.0) -> None:
        if self.process is not None:
            if patience:
                self.process.join(patience)
            self.process.kill()
            self.process.join()
        if self.connection is not None:
            self.connection.close()
        self.process, self.connection, self.task = None, None, None


def _serve(connection, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; it ends us
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # unwinds, so that half-written files are removed
    import cv2

    cv2.setNumThreads(0)  # one process per core already: OpenCV's own threads would only fight over them
    while True:
        while not connection.poll(1.0):
            if os.getppid() != parent:  # under fork the pipe stays open in our siblings, so its end cannot tell
                return
        try:
            function, task = connection.recv()
        except EOFError:
            return
        beat = Beat(connection, parent)
        try:
            value = "done", function(task, beat)
            beat.flush()
        except Exception as error:  # noqa: BLE001 -- it is raised again in the parent
            value = "raise", _portable(error)
        connection.send(value)


def _portable(error: Exception) -> Exception:
    """Errors a user can mend cross as they are; a bug takes its traceback along."""
    from utils.errors import UserError

    if isinstance(error, UserError) or type(error).__module__ == "builtins" and isinstance(error, OSError):
        return error
    return RuntimeError("in a data worker:\n" + "".join(traceback.format_exception(error)))
