"""What is known of real clips, kept by content: the same clips seen by the same network need not be looked at again."""

import hashlib
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from utils import distributed
from utils.errors import UserError
from utils.files import allow_all, atomic_file


class Shelf:
    """Files in ``folder`` named by a hash of what they hold; whoever writes last changes nothing."""

    def __init__(self, folder: Path):
        self.folder = folder

    def restore(self, collectors: dict[str, object]) -> set[str]:
        """Fill those that are known, by name; which they are. The same in all processes."""
        found = {}
        if distributed.is_main():
            for name in collectors:
                try:
                    found[name] = load_file(self._path(name))
                except (OSError, SafetensorError):
                    continue
        for name, state in found.items():
            collectors[name].restore(state)
        return distributed.from_main(set(found))

    def save(self, name: str, collector) -> None:
        """Keep what ``collector`` holds; if there is no room for it, it is looked at again another time, and nothing else is lost."""
        with suppress(OSError, SafetensorError, UserError), atomic_file(self._path(name)) as temporary:
            save_file({key: tensor.contiguous() for key, tensor in collector.state().items()}, temporary)
            allow_all(temporary)

    def _path(self, name: str) -> Path:
        return self.folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.safetensors"
