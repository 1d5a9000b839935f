"""What the tests of downloading share: a film's bytes, a server, and the command itself. Import the fixtures by name."""

import json
import resource
import subprocess
import sys

import pytest

from data.download import main
from tests.conftest import ROOT
from tests.data.films import moving, write_film
from tests.data.web import web

HASTE = ["--sleep", 0, "--backoff", 0.01, "--timeout", 2]


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> bytes:
    return write_film(tmp_path_factory.mktemp("film") / "film.mp4", moving(50), faststart=True).read_bytes()


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with web() as site:
        yield site


@pytest.fixture
def get(tmp_path, capsys):
    """Runs the command into tmp_path/videos; returns what it printed and the manifest's entries by the end of their URLs."""
    def get(*words):
        try:
            status = main([*map(str, HASTE), *map(str, words), "--out", str(tmp_path / "videos")])
            assert status == 0
        finally:
            path = tmp_path / "videos" / "manifest.json"
            entries = json.loads(path.read_text())["videos"] if path.exists() else []
            hidden = tmp_path / "videos" / ".download"
            get.kept = sorted(path.name for path in hidden.iterdir()) if hidden.exists() else []
            get.entries = {"/" + entry["url"].partition("//")[2].partition("/")[2]: entry for entry in entries}
        return capsys.readouterr().out, get.entries
    return get


def on_a_small_disk(words, largest: int):
    """The command in a process in which writing beyond ``largest`` bytes into a file fails as on a full disk."""
    return subprocess.run([sys.executable, "-m", "data.download", *map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=60,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest)))


def files(tmp_path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (tmp_path / "videos").iterdir() if path.is_file() and path.name != "manifest.json"}
