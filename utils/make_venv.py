"""Make a virtual environment with pip in it, also where Debian's python3-venv is not installed. Standard library only.

    python3 utils/make_venv.py .venv
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
import venv
from pathlib import Path

PIP = "https://pypi.org/pypi/pip/json"
MARKS = ("made_by_make", "ready")  # an environment begun here, and one that was finished (see Makefile)


def main() -> None:
    folder = Path(sys.argv[1])
    if sys.version_info < (3, 11):
        sys.exit(f"error: Python {sys.version.split()[0]} is too old; 3.11 or newer is needed (make PYTHON=python3.11 ...)")
    if folder.is_symlink():  # what it leads to would be emptied
        sys.exit(f"error: {folder} is a link; remove it, or choose another place: make VENV=...")
    _empty(folder)
    try:
        import ensurepip  # noqa: F401  (Debian ships it apart from Python)
        venv.create(folder, with_pip=True)
    except (ImportError, subprocess.CalledProcessError):
        venv.create(folder, with_pip=False)
        _fetch_pip(folder / "bin" / "python")


def _empty(folder: Path) -> None:
    """Leave nothing there but our mark. What others put there is not touched."""
    inside = list(folder.iterdir()) if folder.is_dir() else []
    if inside and not any((folder / mark).is_file() for mark in MARKS):
        sys.exit(f"error: {folder} holds what make did not put there; move it, or choose another place: make VENV=...")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKS[0]).touch()
    for path in inside:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != MARKS[0]:
            path.unlink()


def _fetch_pip(python: Path) -> None:
    """pip's own wheel can run from the zip file, and install itself."""
    with urllib.request.urlopen(PIP) as reply:
        wheel = next(file for file in json.load(reply)["urls"] if file["packagetype"] == "bdist_wheel")
        address = urllib.parse.urljoin(reply.geturl(), wheel["url"])  # a mirror may give it relative to itself
    with urllib.request.urlopen(address) as reply:
        data = reply.read()
    if hashlib.sha256(data).hexdigest() != wheel["digests"]["sha256"]:
        sys.exit("error: pip's wheel arrived damaged; try again, or install python3-venv")
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / wheel["filename"]
        path.write_bytes(data)
        subprocess.run([python, f"{path}/pip", "install", "--no-index", str(path)], check=True)


if __name__ == "__main__":
    main()
