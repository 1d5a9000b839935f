"""What was downloaded from where: ``manifest.json``, one entry for each video, whole on disk after each of them."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from utils.errors import UserError
from utils.files import sha256_of, write_json

NAME = "manifest.json"
_FORMAT = 1


@dataclass
class Entry:
    """One video. ``url`` is what was asked for, and the key; the rest is null where it is not known.

    ``status``: ok; damaged (as sent by the server; a part can be used); partial (not yet in place); skipped (too long or too large);
    failed. ``error`` says why. ``duration`` is in seconds, ``bytes`` the size, also of what was skipped for it.
    """

    url: str
    id: str | None = None
    title: str | None = None
    author: str | None = None
    licence: str | None = None
    site: str | None = None
    playlist: str | None = None
    duration: float | None = None
    sha256: str | None = None
    bytes: int | None = None
    file: str | None = None
    status: str = "partial"
    error: str | None = None
    fetched: str | None = None


class Manifest:
    """The entries of a folder by address, in the order in which they came."""

    def __init__(self, folder: Path):
        """Raises UserError if there is a ``manifest.json`` that is not one of ours, and leaves it alone."""
        self.folder, self.path = folder, folder / NAME
        self.entries: dict[str, Entry] = {}
        if not self.path.exists():
            return
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            if found["format"] != _FORMAT:
                raise ValueError(f"format {found['format']}")
            entries = [Entry(**entry) for entry in found["videos"]]
            kinds = {field.name: field.type for field in fields(Entry)}
            for entry in entries:
                for name, kind in kinds.items():
                    value = getattr(entry, name)
                    if not isinstance(value, kind) and not (type(value) is int and kind == float | None):
                        raise ValueError(f"{name}: {value!r}")
                if entry.file is not None and (Path(entry.file).name != entry.file or entry.file.startswith(".")):
                    raise ValueError(f"file: {entry.file!r}")
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(f"{self.path}: is not a manifest of downloads ({error}); move it away, or use another --out") from None
        self.entries = {entry.url: entry for entry in entries}

    def get(self, url: str) -> Entry:
        """The entry for ``url``; a new one that is not in the manifest yet if there is none."""
        return self.entries.get(url) or Entry(url)

    def put(self, entry: Entry) -> None:
        """Add or replace an entry, on disk too."""
        self.entries[entry.url] = entry
        self._write()

    def drop(self, url: str) -> None:
        """Forget the entry for ``url``, if there is one."""
        if self.entries.pop(url, None) is not None:
            self._write()

    def _write(self) -> None:
        write_json(self.path, {"format": _FORMAT, "videos": [asdict(entry) for entry in self.entries.values()]})

    def in_place(self, entry: Entry) -> bool:
        """Whether the entry's file is there with the bytes it was downloaded with."""
        if entry.file is None or entry.sha256 is None:
            return False
        path = self.folder / entry.file
        return path.is_file() and path.stat().st_size == entry.bytes and sha256_of(path) == entry.sha256
