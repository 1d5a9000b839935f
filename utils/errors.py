"""A user's mistake is one line and exit status 2; a bug is a traceback."""

import contextlib
import errno
import os
import signal
import sys

EXIT_USER_ERROR = 2
# sysexits.h EX_TEMPFAIL: "try again later", which schedulers can be told to requeue on.
EXIT_INTERRUPTED = 75
# Disk and permission troubles are the user's to mend, wherever in the code they surface.
_USER_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EFBIG, errno.ENOTDIR, errno.EISDIR,
                errno.ENAMETOOLONG}


class UserError(Exception):
    """Something the user can mend. The message says what is wrong, in which file or flag, and what to do, in one line."""


def script(main) -> None:
    """Run ``main()`` as a shell command: returns its exit status to the shell and turns user errors into one line, status 2."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # half-written files are cleared away
    try:
        status = main()
    except UserError as error:
        status = _complain(str(error))
    except BrokenPipeError:
        status = 0  # the reader (head, less) went away; that is no error
    except OSError as error:
        if error.errno not in _USER_ERRNOS:
            raise
        where = f": {error.filename}" if error.filename else ""
        status = _complain(f"{error.strerror}{where}; free some space, or choose a path you may write to")
    except KeyboardInterrupt:
        status = 130
    _end(status or 0)


def _end(status: int) -> None:
    """Back to the shell; one of several processes at once, without taking the interpreter apart. A thread has been seen to abort
    there, with "terminate called without an active exception", whereupon torchrun ends the others and calls all of them failed."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        sys.exit(status)
    with contextlib.suppress(OSError):  # the reader went away
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def _complain(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return EXIT_USER_ERROR
