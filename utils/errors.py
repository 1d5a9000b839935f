"""A user's mistake is one line and exit status 2; a bug is a traceback."""

import contextlib
import errno
import os
import re
import signal
import sys
import traceback

if os.name == "nt":
    sys.stderr.write("error: Windows is not supported; run this in WSL (Windows Subsystem for Linux)\n")
    sys.exit(2)

EXIT_USER_ERROR = 2
# What a shell calls a program that SIGPIPE ended: its reader (head, a tee that died) went away before all was said.
EXIT_UNREAD = 128 + signal.SIGPIPE
# sysexits.h EX_TEMPFAIL: "try again later", which schedulers can be told to requeue on.
EXIT_INTERRUPTED = 75
# Troubles of disks and permissions are the user's to mend, wherever in the code they surface. What to do about each:
_PLACE, _FILES, _DISK = "free some space, or choose a path you may write to", "allow more open files: ulimit -n 4096", "check the disk"
_ADVICE = {**dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EFBIG, errno.ENOTDIR, errno.EISDIR,
                            errno.ENAMETOOLONG, errno.EBUSY, errno.ELOOP), _PLACE),
           **dict.fromkeys((errno.EMFILE, errno.ENFILE), _FILES), **dict.fromkeys((errno.EIO, errno.ESTALE), _DISK)}


class UserError(Exception):
    """Something the user can mend. The message says what is wrong, in which file or flag, and what to do, in one line."""


class ToldElsewhere(UserError):
    """What ended another process, which tells of it."""


def need(name: str, value, good: bool, what: str) -> None:
    """UserError unless the ``value`` of the flag ``--name`` is ``good``: it must be ``what``."""
    if not good:
        raise UserError(f"--{name} {value}: must be {what}")


def script(main) -> None:
    """Run ``main()`` as a shell command: returns its exit status to the shell and turns user errors into one line, status 2."""
    for ending in (signal.SIGTERM, signal.SIGHUP):  # half-written files are cleared away
        if signal.getsignal(ending) != signal.SIG_IGN:  # as nohup has it
            signal.signal(ending, lambda number, _: sys.exit(128 + number))
    sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8, nor a terminal
    try:
        status = main()
        sys.stdout.flush()  # what nobody reads is found out here, not when the interpreter ends
    except ToldElsewhere:
        status = EXIT_USER_ERROR
    except UserError as error:
        status = _complain(str(error))
    except BrokenPipeError:
        status = EXIT_UNREAD
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left unsaid would fail again at the end
    except KeyboardInterrupt:
        status = 130
    except Exception as error:
        status = _complain_of(error)
    _end(status or 0)


def _complain_of(error: Exception) -> int:
    """Status of an error that the user can mend, told in one line. Any other is raised again; one of several processes prints it at once
    instead, as its interpreter would wait at its end for the others, and they for it."""
    if isinstance(error, OSError) and error.errno in _ADVICE:
        where = f": {error.filename}" if error.filename else ""
        return _complain(f"{error.strerror}{where}; {_ADVICE[error.errno]}")
    if (isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
            or isinstance(error, OSError) and error.errno == errno.ENOMEM):
        wanted = re.search(r"allocate (\d[\d.]* \w+)", str(error))
        return _complain(f"out of memory{f' ({wanted[1]} more were asked for)' if wanted else ''}; smaller frames and batches need less; "
                         "train.py has --accumulate 2 and --storage disk, and --dry_run measures it")
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        raise error
    traceback.print_exception(error)
    return 1


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
