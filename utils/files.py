"""Writing files so that a reader, or a crash, never meets half of one."""

import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path

from utils.errors import UserError


def fsync_path(path: Path) -> None:
    """Force a file's or folder's contents to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems know no such thing, of folders above all
            raise
    finally:
        os.close(handle)


def temporary_beside(path: Path) -> Path:
    """A free name in the same folder (so that a rename is atomic), hidden, with the same ending."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path.parent}: cannot be made: {error.strerror}; choose a path you may write to") from None
    return path.parent / f".{path.stem}.{os.getpid()}.{secrets.token_hex(4)}.tmp{path.suffix}"


def is_temporary(path: Path) -> bool:
    """Whether it bears a name that :func:`temporary_beside` gives: what a crash left behind, and nobody's file."""
    return re.fullmatch(r"\..*\.\d+\.[0-9a-f]{8}\.tmp.*", path.name) is not None


@contextmanager
def atomic_file(path: Path):
    """Yields a temporary path to write to; on success it is fsynced and renamed to ``path``, on an error removed."""
    path = Path(path)
    temporary = temporary_beside(path)
    try:
        yield temporary
        fsync_path(temporary)
        os.replace(temporary, path)
        fsync_path(path.parent)
    finally:
        with suppress(OSError):  # what went wrong before is what counts
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path):
    """Like :func:`atomic_file` for a folder. ``path`` must not exist yet: a rename cannot replace a full folder."""
    path = Path(path)
    temporary = temporary_beside(path)
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.iterdir():
            fsync_path(file)
        fsync_path(temporary)
        os.rename(temporary, path)
        fsync_path(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def allow_all(path: Path) -> None:
    """The permissions of any new file, for one that a library made readable to its owner alone."""
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(path, 0o666 & ~mask)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` atomically."""
    with atomic_file(path) as temporary:
        # Names of files need not be UTF-8; Python holds the bytes that are not as characters which UTF-8 has not.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value) -> None:
    """Write ``value`` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def try_lock(handle: int) -> bool:
    """Lock an open file or folder until ``handle`` is closed, or this process ends; False if another process holds it. True on a file
    system without locks too: there nothing keeps two apart."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def holds(path: Path, name: str) -> bool:
    """Whether a file of ours may be written there: there is none yet, or it is JSON with an entry ``name``, as ours has."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and name in found


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def writable_folder(output: Path, flag: str = "--output") -> Path:
    """A folder that exists or can be made. UserError now and not after an hour's work if it cannot be written."""
    nearest = next(path for path in (output, *output.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise UserError(f"{flag} {output}: {nearest} is a file; give a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f"{flag} {output}: no permission to write to {nearest}; choose another folder")
    return output


def is_there(path: Path, flag: str) -> bool:
    """Whether there is such a file or folder; UserError that names ``flag`` where that cannot be seen."""
    try:
        return path.exists()
    except OSError as error:
        raise UserError(f"{flag} {path}: cannot be read: {error.strerror}") from None
