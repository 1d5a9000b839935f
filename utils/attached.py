"""``python utils/attached.py script.py ...`` runs a script that yields to other work and does not outlive whoever started it.

The starter keeps the other end of this process's standard input. However it ends, ``kill -9`` included, that end closes, and the script
is asked to end too.
"""

import os
import runpy
import signal
import sys
import threading
import time
from pathlib import Path

NICENESS = 5
GRACE_SECONDS = 3.0  # to clear half-written files away


def _end_with_the_starter() -> None:
    while os.read(0, 4096):  # nobody writes; an empty answer means that the other end is closed
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    os.nice(NICENESS)
    threading.Thread(target=_end_with_the_starter, daemon=True).start()
    del sys.argv[0]
    sys.path[0] = str(Path(sys.argv[0]).parent)  # as if the script had been started itself
    runpy.run_path(sys.argv[0], run_name="__main__")
