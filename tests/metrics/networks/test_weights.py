"""Where weights are looked for, and fetching them: once, whole, checked."""

import hashlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from metrics.networks.weights import SOURCES, MissingWeights, find_weights, parse_weights
from tests.data.web import web
from utils.errors import UserError
from utils.files import sha256_of

ROOT = Path(__file__).resolve().parents[3]
BODY = bytes(range(256)) * 40
HASH = hashlib.sha256(BODY).hexdigest()
FETCH = "import sys; from metrics.networks.weights import find_weights; print(find_weights('i3d', {'i3d': sys.argv[1]}))"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("VIDGAN_WEIGHTS_DIR", str(tmp_path / "weights"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "weights"


@pytest.fixture
def server():
    with web() as server:
        yield server


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def fetching(value: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", FETCH, value], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_a_path_wins_over_the_folder_and_the_folder_is_searched_by_usual_names(tmp_path, folder):
    with pytest.raises(MissingWeights) as caught:
        find_weights("inception", {"i3d": "elsewhere"})
    source = SOURCES["inception"]
    for part in (source.files[0], source.url, source.sha256, str(folder), "$VIDGAN_WEIGHTS_DIR", "--weights inception=PATH"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value) and isinstance(caught.value, UserError)
    folder.mkdir()
    for file in reversed(source.files):
        (folder / file).write_bytes(b"1")
        assert find_weights("inception", {}) == folder / file
    (tmp_path / "mine").write_bytes(b"2")
    assert find_weights("inception", {"inception": str(tmp_path / "mine")}) == tmp_path / "mine"
    assert sha256_of(tmp_path / "mine") == hashlib.sha256(b"2").hexdigest()


def test_the_default_folder_is_in_the_home_of_the_user(tmp_path, monkeypatch):
    monkeypatch.delenv("VIDGAN_WEIGHTS_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / ".cache" / "vidgan" / "weights" / "i3d_torchscript.pt"
    file.parent.mkdir(parents=True)
    file.touch()
    assert find_weights("i3d", {"i3d": ""}) == file and find_weights("i3d", {"i3d": "~/.cache/vidgan/weights/i3d_torchscript.pt"}) == file


def test_a_path_to_nothing_is_a_mistake_and_not_merely_missing(tmp_path):
    said = "--weights r3d_18=.*nowhere: there is no such file; get r3d_18-b3b3357e.pth .*begins with b3b3357e"
    with pytest.raises(UserError, match=said) as caught:
        find_weights("r3d_18", {"r3d_18": str(tmp_path / "nowhere")})
    assert not isinstance(caught.value, MissingWeights)
    with pytest.raises(MissingWeights, match="give a TorchScript file with --weights script=PATH"):
        find_weights("script", {})


def test_an_address_is_fetched_once(server, folder):
    value = server.put("/dir/a%20b.pt", BODY, type="application/octet-stream") + f"?dl=1#{HASH.upper()}"
    server.pages["/dir/a%20b.pt"].chunked = True
    first = find_weights("i3d", {"i3d": value})
    assert first == folder / f"{HASH[:16]}-a b.pt" and first.read_bytes() == BODY
    assert find_weights("i3d", {"i3d": value}) == first
    assert len(server.asked) == 1 and left_in(folder) == [first.name]


def test_two_processes_at_once_fetch_once(server, folder):
    value = server.put("/w.pt", BODY, pause=0.02) + f"#{HASH}"
    runs = [fetching(value) for _ in range(2)]
    outputs = [run.communicate(timeout=30) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0] == f"{folder / f'{HASH[:16]}-w.pt'}\n"
    assert len(server.asked) == 1 and left_in(folder) == [f"{HASH[:16]}-w.pt"]


def test_a_killed_run_leaves_nothing_that_could_be_taken_for_weights(server, folder):
    value = server.put("/w.pt", BODY, pause=0.1) + f"#{HASH}"
    run = fetching(value)
    deadline = time.monotonic() + 20
    while not server.asked and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    assert not [name for name in left_in(folder) if not name.startswith(".")]
    server.put("/w.pt", BODY)
    assert find_weights("i3d", {"i3d": value}).read_bytes() == BODY
    assert left_in(folder) == [f"{HASH[:16]}-w.pt"]


def refusals(server):
    yield "without its hash", server.put("/1", BODY), "needs the SHA-256"
    yield "with half a hash", server.put("/2", BODY) + "#abcdef12", "needs the SHA-256"
    yield "with another hash", server.put("/3", BODY) + "#" + "0" * 64, f"the file there has SHA-256 {HASH}"
    yield "that is gone", f"{server.url}/4#{HASH}", "cannot be fetched: HTTP 404"
    yield "cut short", server.put("/5", BODY, length=len(BODY) + 5) + f"#{HASH}", "the connection ended after 10,240 of 10,245 bytes"
    yield "cut in a chunk", server.put("/6", BODY, chunked=True, cuts=[100]) + f"#{HASH}", "cannot be fetched"
    yield "of no server", f"http://127.0.0.1:9/x#{HASH}", "cannot be fetched"
    yield "of no sense", f"http://[/x#{HASH}", "not an address"
    yield "of no port", f"http://127.0.0.1:what/x#{HASH}", "cannot be fetched"
    yield "of no file", f"file:///nowhere/at/all#{HASH}", "cannot be fetched"


def test_addresses_that_cannot_be_used_are_refused_in_one_line_and_leave_nothing(server, folder):
    for what, value, said in refusals(server):
        with pytest.raises(UserError) as caught:
            find_weights("i3d", {"i3d": value})
        assert said in str(caught.value) and "--weights i3d=" in str(caught.value) and "\n" not in str(caught.value), what
        assert not folder.exists() or left_in(folder) == [], what


def test_a_folder_that_cannot_be_made_is_said(server, folder):
    folder.write_text("a file")
    with pytest.raises(UserError, match="cannot be made"):
        find_weights("i3d", {"i3d": server.put("/w", BODY) + f"#{HASH}"})


def test_pairs_on_the_command_line():
    assert parse_weights(["inception=a=b.pth", "i3d=http://x/y#z"]) == {"inception": "a=b.pth", "i3d": "http://x/y#z"}
    for wrong in ("inception", "inception=", "vgg=file", "=file"):
        with pytest.raises(UserError, match="must be NAME=PATH or NAME=URL#SHA256 with a NAME out of inception, i3d"):
            parse_weights([wrong])
    with pytest.raises(UserError, match="i3d is given twice"):
        parse_weights(["i3d=a", "i3d=b"])
