"""Where the weights of a feature network come from. None are shipped and none are fetched unasked.

Looked for in this order: ``--weights NAME=PATH``; ``--weights NAME=URL#SHA256``, fetched once and checked; a file under its usual
name in the folder $VIDGAN_WEIGHTS_DIR, or ~/.cache/vidgan/weights.
"""

import glob
import http.client
import os
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from utils.errors import UserError
from utils.files import atomic_file, sha256_of, temporary_beside

FOLDER = "VIDGAN_WEIGHTS_DIR"
_TIMEOUT = 60.0  # seconds without a byte


class MissingWeights(UserError):
    """There are no weights for a network; the message says which file to get, from where, and where to put it."""


@dataclass(frozen=True)
class Source:
    """The file a network's weights are published in."""

    files: tuple[str, ...]
    """Its usual names; none for a network of the user's own."""
    url: str = ""
    sha256: str = ""
    """All of it, or as much as its name tells."""


_TGAN2 = "https://github.com/rezoo/tgan2/releases/download/v1.0"
SOURCES = {
    # Both projects publish the same bytes.
    "inception": Source(("weights-inception-2015-12-05-6726825d.pth", "pt_inception-2015-12-05-6726825d.pth"),
                        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
                        "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"),
    "i3d": Source(("i3d_torchscript.pt",), "https://www.dropbox.com/s/ge9e5ujwgetktms/i3d_torchscript.pt?dl=1",
                  "bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2"),
    "r3d_18": Source(("r3d_18-b3b3357e.pth",), "https://download.pytorch.org/models/r3d_18-b3b3357e.pth", "b3b3357e"),
    "s3d": Source(("s3d-d76dad2f.pth",), "https://download.pytorch.org/models/s3d-d76dad2f.pth", "d76dad2f"),
    "c3d": Source(("conv3d_deepnetA_ucf.npz",), f"{_TGAN2}/conv3d_deepnetA_ucf.npz"),
    "c3d_mean": Source(("mean2.npz",), f"{_TGAN2}/mean2.npz"),
    "lpips": Source(("alexnet-owt-7be5be79.pth",), "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth", "7be5be79"),
    "script": Source(()),
}


def parse_weights(pairs: list[str]) -> dict[str, str]:
    """``["inception=PATH", "i3d=URL#SHA256"]`` -> by name. UserError for a name nobody knows, or twice the same."""
    given: dict[str, str] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        if not value or name not in SOURCES:
            raise UserError(f"--weights {pair}: must be NAME=PATH or NAME=URL#SHA256 with a NAME out of {', '.join(SOURCES)}")
        if name in given:
            raise UserError(f"--weights {pair}: {name} is given twice; give it once")
        given[name] = value
    return given


def weights_folder() -> Path:
    """$VIDGAN_WEIGHTS_DIR, else ~/.cache/vidgan/weights."""
    return Path(os.path.expanduser(os.environ.get(FOLDER) or "~/.cache/vidgan/weights"))


def find_weights(name: str, given: dict[str, str]) -> Path:
    """The file with the weights of ``name``, brought here if need be. MissingWeights if there is none, UserError if what was given
    cannot be used."""
    if value := given.get(name):
        if re.match(r"(https?|file)://", value, re.IGNORECASE):
            return _fetched(name, value)
        path = Path(os.path.expanduser(value))
        if not path.is_file():
            raise UserError(f"--weights {name}={value}: there is no such file; {_advice(name)}")
        return path
    for file in SOURCES[name].files:
        if (path := weights_folder() / file).is_file():
            return path
    raise MissingWeights(f"no weights for the network {name}: {_advice(name)}")


def _advice(name: str) -> str:
    source = SOURCES[name]
    if not source.files:
        return f"give a TorchScript file with --weights {name}=PATH"
    known = f" (its SHA-256 {'begins with' if len(source.sha256) < 64 else 'is'} {source.sha256})" if source.sha256 else ""
    return (f"get {source.files[0]} from {source.url}{known} and put it into {weights_folder()} (${FOLDER} names another folder) "
            f"or give it with --weights {name}=PATH")


def _fetched(name: str, value: str) -> Path:
    """The file behind ``URL#SHA256``, from the folder if an earlier run left it there. One process fetches, others wait for it."""
    flag = f"--weights {name}={value}"
    url, _, wanted = value.rpartition("#")
    wanted = wanted.lower()
    if not re.fullmatch(r"[0-9a-f]{64}", wanted):
        raise UserError(f"{flag}: an address needs the SHA-256 of its file, 64 digits, after a #; or fetch it yourself and give its path")
    try:
        basename = Path(urllib.parse.unquote(urllib.parse.urlsplit(url).path)).name or name
    except ValueError as error:
        raise UserError(f"{flag}: not an address ({error}); give one as your browser shows it") from None
    path = weights_folder() / f"{wanted[:16]}-{basename}"
    temporary_beside(path)  # makes the folder, or says why it cannot be
    with FileLock(path.with_name(f".{path.name}.lock")):
        if not path.is_file():
            for left in path.parent.glob(f".{glob.escape(path.stem)}.*.tmp*"):  # by a run that was killed
                left.unlink()
            with atomic_file(path) as temporary:
                _download(flag, url, temporary)
                if (found := sha256_of(temporary)) != wanted:
                    raise UserError(f"{flag}: the file there has SHA-256 {found}; give its right hash, or another address")
    return path


def _download(flag: str, url: str, to: Path) -> None:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as reply:
            length = reply.headers.get("Content-Length")
            with open(to, "wb") as file:
                shutil.copyfileobj(reply, file, 1 << 20)
        if length is not None and to.stat().st_size != int(length):
            raise urllib.error.URLError(f"the connection ended after {to.stat().st_size:,} of {int(length):,} bytes")
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ValueError) as error:
        reason = f"HTTP {error.code} {error.reason}" if isinstance(error, urllib.error.HTTPError) else getattr(error, "reason", error)
        raise UserError(f"{flag}: cannot be fetched: {reason}; try again, or fetch it another way and give its path") from None
