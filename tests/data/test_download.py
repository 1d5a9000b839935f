import hashlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import collect
from data.download import main
from data.filenames import folded, free_name, safe_stem
from data.layouts import find_sources
from data.manifest import Manifest
from tests.conftest import ROOT
from tests.data.films import moving, write_film
from tests.data.web import web
from utils.errors import UserError

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
            status = main([*map(str, words), *map(str, HASTE), "--out", str(tmp_path / "videos")])
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


def test_files_arrive_once(site, film, get, tmp_path):
    urls = [site.put("/plain.mp4", film), site.put("/chunks.mp4", film, chunked=True),
            site.put("/moved.mp4", status=302, headers={"Location": "/plain.mp4"}), site.put("/deep/plain.mp4", film, etag=None)]
    said, entries = get(*urls)
    assert files(tmp_path) == dict.fromkeys(["plain.mp4", "chunks.mp4", "moved.mp4", f"plain-{entries['/deep/plain.mp4']['id']}.mp4"], film)
    assert "4 of 4 obtained" in said and f"--data {tmp_path / 'videos'} --out runs/videos" in said.splitlines()[-1]
    entry = entries["/plain.mp4"]
    assert (entry["status"], entry["error"], entry["title"], entry["file"], entry["bytes"]) == ("ok", None, "plain", "plain.mp4", len(film))
    assert entry["duration"] == 2.0 and entry["sha256"] == hashlib.sha256(film).hexdigest() and entry["licence"] is None
    asked = len(site.asked)
    before = (tmp_path / "videos" / "manifest.json").stat().st_mtime_ns
    said, _ = get(*urls)
    assert "4 of 4 obtained" in said and len(site.asked) == asked and not get.kept
    assert (tmp_path / "videos" / "manifest.json").stat().st_mtime_ns == before
    assert len(find_sources(tmp_path / "videos").sources) == 4


def test_a_cut_connection_is_resumed(site, film, get, tmp_path):
    get(site.put("/cut.mp4", film, cuts=[1000, 2000]), site.put("/pieces.mp4", film, cuts=[1000], chunked=True),
        site.put("/no_ranges.mp4", film, cuts=[1000, 1000], ranges=False), site.put("/no_tag.mp4", film, cuts=[1000], etag=None))
    assert set(files(tmp_path).values()) == {film} and len(files(tmp_path)) == 4
    assert site.ranges("/cut.mp4") == [None, "bytes=1000-", "bytes=3000-"]
    assert site.ranges("/no_tag.mp4") == [None, "bytes=1000-"]  # its length vouches for it


@pytest.mark.parametrize("tag", ['"v1"', None])
def test_a_later_run_resumes_unless_the_file_has_changed(site, film, get, tmp_path, tag):
    urls = [site.put(f"/{name}.mp4", film, cuts=[5000], etag=tag) for name in ("same", "other")]
    with pytest.raises(UserError, match=f"connection ended after 5,000 of {len(film):,} bytes, tried 1 time"):
        get(*urls, "--retries", 0)
    assert len(get.kept) == 4 and get.entries["/same.mp4"]["status"] == "failed"
    new = write_film(tmp_path / "new.mp4", moving(40, seed=3), faststart=True).read_bytes()
    site.put("/other.mp4", new, etag=tag and '"v2"')
    get(*urls)
    assert site.ranges("/same.mp4") == [None, "bytes=5000-"]
    assert files(tmp_path) == {"same.mp4": film, "other.mp4": new} and not get.kept


def test_a_whole_part_needs_no_second_visit(site, film, get, monkeypatch):
    def crash(*_):
        raise RuntimeError
    with monkeypatch.context() as patch:
        patch.setattr(collect, "probe", crash)
        with pytest.raises(RuntimeError):
            get(site.put("/a.mp4", film))
    get(site.url + "/a.mp4")
    assert len(site.asked) == 1


BAD = {
    "404": (dict(status=404), "HTTP 404"), "403": (dict(status=403), "HTTP 403"), "always 503": (dict(status=503), "HTTP 503 .* tried 3 times"),
    "nothing in it": (dict(status=204), "HTTP 204"), "empty": (dict(body=b""), "no video that can be read"),
    "a page": (dict(body=b"<p>not here", type="text/html; charset=utf-8"), "web page"),
    "a page that lies": (dict(body=b"\n<!DOCTYPE html><title>Log in"), "web page"),
    "text": (dict(body=b"It was a dark and stormy night. " * 99), "no video that can be read"),
    "a list": (dict(body=b"#EXTM3U\n#EXTINF:2,\n/etc/passwd\n"), "no video that can be read"),
    "promises more": (dict(body=b"x" * 500, length=900, ranges=False), "after 500 of 900 bytes"),
    "endless": (dict(body=b"x" * 9999, endless=True), "too large: more than 100,000 bytes"),
    "too large": (dict(length=100_001), "too large: 100,001 bytes, the limit is 100,000"),
    "circle": (dict(status=302, headers={"Location": "/bad.mp4"}), "HTTP 302"),
    "to a file": (dict(status=302, headers={"Location": "file:///etc/hostname"}), "HTTP 302"),
    "to FTP": (dict(status=302, headers={"Location": "ftp://127.0.0.1/a.mp4"}), "unknown url type: ftp"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_fails_is_named_and_does_not_stop_the_rest(site, film, get, tmp_path, name):
    options, reason = BAD[name]
    bad, good = site.put("/bad.mp4", **options), site.put("/good.mp4", film)
    said, entries = get(bad, good, "--max_size", "100kB", "--retries", 2, "--backend", "direct")
    assert "1 of 2 obtained" in said and files(tmp_path) == {"good.mp4": film}
    assert re.search(reason, entries["/bad.mp4"]["error"]) and f"  {bad}: {entries['/bad.mp4']['error']}" in said
    assert entries["/bad.mp4"]["status"] == ("skipped" if "too large" in reason else "failed")
    assert bool(get.kept) == (name == "promises more")
    with pytest.raises(UserError, match=reason):
        get(bad, "--max_size", "100kB", "--retries", 2, "--backend", "direct")


def test_what_is_promised_too_short_arrives_damaged(site, film, get):
    _, entries = get(site.put("/short.mp4", film, length=len(film) * 6 // 10, ranges=False), site.put("/ok.mp4", film))
    assert entries["/short.mp4"]["status"] == "damaged" and "truncated" in entries["/short.mp4"]["error"]
    said, entries = get(site.url + "/short.mp4")
    assert "1 of 1 obtained" in said and entries["/short.mp4"]["status"] == "damaged" and len(site.asked) == 2


def test_passing_trouble_is_waited_for(site, film, get, monkeypatch):
    waits = []
    monkeypatch.setattr("data.fetch.time", types.SimpleNamespace(sleep=waits.append, monotonic=time.monotonic))
    get(site.put("/busy.mp4", film, first=[503, 429, 500], headers={"Retry-After": "7"}), site.put("/shy.mp4", film, first=[502, 504]))
    assert waits == [7, 7, 7, 0.01, 0.02]


def test_nobody_listens_or_too_slowly(site, film, get):
    slow = site.put("/slow.mp4", b"x" * 9000, pause=0.5)
    begun = time.monotonic()
    _, entries = get("http://127.0.0.1:9/a.mp4", slow, site.put("/good.mp4", film), "--retries", 1, "--timeout", 0.3)
    assert "refused" in entries["/a.mp4"]["error"] and time.monotonic() - begun < 9
    assert entries["/slow.mp4"]["status"] == "failed" and "less than 1000 bytes per second" in entries["/slow.mp4"]["error"]


def test_limits(site, film, get, tmp_path):
    urls = [site.put(f"/{name}.mp4", film) for name in "abc"]
    long = site.put("/long.mp4", write_film(tmp_path / "long.mp4", moving(80)).read_bytes())
    said, entries = get(long, *urls, "--max_videos", 2, "--max_duration", 3)
    assert set(files(tmp_path)) == {"a.mp4", "b.mp4"} and "2 of 3 obtained" in said and "--max_videos 2 is reached" in said
    assert entries["/long.mp4"]["error"] == "too long: 3 s, the limit is 3 s" and entries["/long.mp4"]["duration"] == 3.2
    said, entries = get(long, *urls, "--max_duration", 3, "--max_total", 3 * len(film) - 1)
    assert entries["/c.mp4"]["status"] == "skipped" and "too large" in entries["/c.mp4"]["error"]
    assert len(site.ranges("/long.mp4")) == 1  # known to be too long
    said, entries = get(long, *urls, "--max_total", 2 * len(film))
    assert "--max_total is reached" in entries["/long.mp4"]["error"] and "2 of 4 obtained" in said
    said, entries = get(long, *urls)
    assert "4 of 4 obtained" in said and len(site.ranges("/a.mp4")) == 1


def test_names_stay_inside_and_apart(site, film, get, tmp_path):
    paths = ["/..%2F..%2Fevil.mp4", "/.hidden.mp4", "/CON.mp4", "/a/Clip.mp4", "/b/clip.mp4", "/%E5%9F%8E%E5%B8%82%20walk.mp4",
             "/" + "%C3%A9" * 100 + ".mp4", "/%00%0A.mp4", "/q.mp4", "/-rf.mp4"]
    for path in paths:
        site.put(path, film)
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "q.mp4").write_text("mine")
    said, entries = get(*(site.url + path for path in paths), "--backend", "direct")
    names = {path: entry["file"] for path, entry in entries.items()}
    assert set(files(tmp_path)) == {*names.values(), "q.mp4"} and len(set(names.values())) == 10 and not (tmp_path.parent / "evil.mp4").exists()
    assert names[paths[0]] == "evil.mp4" and names[paths[1]] == "hidden.mp4" and names[paths[2]] == "CON_.mp4" and names[paths[9]] == "rf.mp4"
    assert names[paths[3]] == "Clip.mp4" and names[paths[4]].startswith("clip-") and names[paths[5]] == "城市 walk.mp4"
    assert names[paths[6]] == "é" * 60 + ".mp4" and files(tmp_path)["q.mp4"] == b"mine" and len(find_sources(tmp_path / "videos").sources) == 11


@given(title=st.text(max_size=300), id=st.text(max_size=20), taken=st.lists(st.text(max_size=5), max_size=3))
def test_any_title_makes_a_name(title, id, taken):
    stem = safe_stem(title)
    assert len(stem.encode()) <= 121 and not set(stem) & set('/\\:*?"<>|\0\n\r') and stem.strip(" .") == stem and stem[:1] not in ("-", "~", ".")
    assert safe_stem(stem) == stem
    first = free_name(title, id, "0123456789abcdef", ".mp4", [])
    others = [first, *taken]
    while len(others) < 6:
        others.append(free_name(title, id, "0123456789abcdef", ".mp4", others))
        assert folded(others[-1]) not in map(folded, others[:-1]) and len(others[-1].encode()) < 255 and others[-1] == os.path.basename(others[-1])


def test_lost_and_changed_files_come_again(site, film, get, tmp_path):
    urls = [site.put("/a.mp4", film), site.put("/b.mp4", film)]
    get(*urls)
    (tmp_path / "videos" / "a.mp4").unlink()
    (tmp_path / "videos" / "b.mp4").write_bytes(film[:-1] + b"?")
    site.put("/b.mp4", status=404)
    said, entries = get(*urls)
    assert "b.mp4 is no longer what was downloaded" in said and files(tmp_path) == {"a.mp4": film, "b.mp4": film[:-1] + b"?"}
    site.put("/b.mp4", film)
    get(*urls)
    assert files(tmp_path) == {"a.mp4": film, "b.mp4": film}


def test_a_crash_between_file_and_manifest(site, film, get, tmp_path, monkeypatch):
    real = Manifest.put

    def put(self, entry):
        if entry.status == "ok":
            raise RuntimeError
        real(self, entry)
    monkeypatch.setattr(Manifest, "put", put)
    with pytest.raises(RuntimeError):
        get(site.put("/a.mp4", film))
    assert get.entries["/a.mp4"]["status"] == "partial" and files(tmp_path) == {"a.mp4": film}
    monkeypatch.setattr(Manifest, "put", real)
    _, entries = get(site.url + "/a.mp4")
    assert entries["/a.mp4"]["status"] == "ok" and len(site.asked) == 1 and files(tmp_path) == {"a.mp4": film}


def test_kill_9_loses_at_most_the_one_in_flight(site, film, get, tmp_path):
    urls = [site.put("/a.mp4", film), site.put("/b.mp4", film, pause=0.05), site.put("/c.mp4", film)]
    words = [*urls, *HASTE, "--out", tmp_path / "videos"]
    process = subprocess.Popen([sys.executable, "-m", "data.download", *map(str, words)], cwd=ROOT, stdout=subprocess.DEVNULL)
    while not site.ranges("/b.mp4") or not any(path.stat().st_size > 1000 for path in (tmp_path / "videos" / ".download").glob("*.part")):
        assert process.poll() is None
        time.sleep(0.02)
    with pytest.raises(UserError, match="another download is filling it"):
        get(*urls)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (tmp_path / "videos" / ".manifest.1.abcd.tmp.json").write_text("{half")
    site.pages["/b.mp4"].pause = 0
    said, entries = get(*urls)
    assert said.startswith("have") and "3 of 3 obtained" in said and set(files(tmp_path)) == {"a.mp4", "b.mp4", "c.mp4"}
    assert len(site.ranges("/a.mp4")) == 1 and site.ranges("/b.mp4")[1].startswith("bytes=") and set(files(tmp_path).values()) == {film}


@pytest.mark.parametrize("largest", [300, 2000])
def test_a_full_disk_is_one_line_and_keeps_the_manifest(site, film, get, tmp_path, largest):
    get(site.put("/a.mp4", film))
    before = (tmp_path / "videos" / "manifest.json").read_text()
    words = [site.put("/b.mp4", film), *HASTE, "--out", tmp_path / "videos"]
    ended = on_a_small_disk(words, largest)
    assert ended.returncode == 2 and ended.stderr.startswith("error: ") and ended.stderr.count("\n") == 1 and "disk is full" in ended.stderr
    assert (tmp_path / "videos" / "manifest.json").read_text() == before
    assert set(files(tmp_path)) == {"a.mp4"}
    get(site.url + "/a.mp4", site.url + "/b.mp4")
    assert site.ranges("/b.mp4")[-1] == f"bytes={largest}-"


def test_a_file_on_disk(film, get, tmp_path):
    (tmp_path / "my film.mp4").write_bytes(film)
    said, entries = get((tmp_path / "my film.mp4").as_uri(), (tmp_path / "gone.mp4").as_uri(), "file:///dev/zero", "file://elsewhere/a.mp4")
    assert "1 of 4 obtained" in said and files(tmp_path) == {"my film.mp4": film}


def test_cookies_are_sent_and_left_alone(site, film, get, tmp_path):
    cookies = tmp_path / "cookies.txt"
    cookies.write_text("# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tkey\tsecret\nelsewhere.org\tFALSE\t/\tFALSE\t0\tno\tno\n")
    before = cookies.read_text()
    get(site.put("/a.mp4", film), "--cookies", cookies)
    assert site.asked[0][1]["Cookie"] == "key=secret" and cookies.read_text() == before


@pytest.mark.parametrize("text", ["{half a", "[]", '{"format": 9, "videos": []}', '{"format": 1, "videos": [{"url": "a", "file": "../b.mp4"}]}',
                                  '{"format": 1, "videos": [{"url": "a", "bytes": "many"}]}', '{"format": 1, "videos": [{"name": "a"}]}'])
def test_a_foreign_manifest_is_left_alone(site, film, get, tmp_path, text):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "manifest.json").write_text(text)
    with pytest.raises(UserError, match="manifest.json: is not a manifest of downloads"):
        main([site.put("/a.mp4", film), "--out", str(tmp_path / "videos")])
    assert (tmp_path / "videos" / "manifest.json").read_text() == text and not site.asked


WRONG = {
    "nothing": ([], "no URL given"), "no URL": (["videos/a.mp4"], "videos/a.mp4: is not a URL"), "no server": (["http:///a.mp4"], "names no server"),
    "brackets": (["http://[a/b.mp4"], "is not a URL"), "password": (["http://me:word@host/a.mp4"], "holds a password"),
    "other scheme": (["ftp://host/a.mp4"], "is not a URL"), "search, wrong backend": (["ytsearch5:walk", "--backend", "direct"], "is not a URL"),
    "flag": (["http://host/a.mp4", "--nope", "1"], "--nope"), "number": (["http://host/a.mp4", "--max_videos", "0"], "--max_videos 0"),
    "size": (["http://host/a.mp4", "--max_size", "big"], "--max_size big"), "no size": (["http://host/a.mp4", "--max-size", "0"], "--max_size 0"),
    "seconds": (["http://host/a.mp4", "--max_duration", "nan"], "--max_duration"), "wait": (["http://host/a.mp4", "--sleep", "-1"], "--sleep -1"),
    "backend": (["http://host/a.mp4", "--backend", "wget"], "--backend"), "cookies": (["http://host/a.mp4", "--cookies", "{tmp}/no.txt"], "no.txt"),
    "no cookies": (["http://host/a.mp4", "--cookies", "{tmp}/text"], "Netscape"), "list": (["--url_file", "{tmp}/no.txt"], "no.txt"),
    "out": (["http://host/a.mp4", "--out", "{tmp}/text"], "is a file"), "below": (["http://host/a.mp4", "--out", "{tmp}/text/a"], "text/a"),
    "not writable": (["http://host/a.mp4", "--out", "/sys/videos"], "/sys/videos"),
    "pytube": (["http://host/watch", "--backend", "pytube"], "pip install pytube"),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_are_one_line_and_leave_nothing(tmp_path, name, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytube", None)
    (tmp_path / "text").write_text("text")
    words, named = WRONG[name]
    with pytest.raises(UserError) as caught:
        main(["--out", str(tmp_path / "new"), *(word.replace("{tmp}", str(tmp_path)) for word in words)])
    assert named in str(caught.value) and "word@" not in str(caught.value) and os.listdir(tmp_path) == ["text"]


def test_a_mistake_on_the_command_line():
    ended = subprocess.run([sys.executable, "-m", "data.download"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2 and ended.stderr.startswith("error: no URL given") and ended.stderr.count("\n") == 1


def test_without_yt_dlp_pages_are_refused_and_files_come(site, film, get, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yt_dlp", None)
    with pytest.raises(UserError, match="pip install yt-dlp"):
        get(site.url + "/watch?v=1", site.put("/a.mp4", film))
    assert not (tmp_path / "videos").exists()
    said, entries = get(site.url + "/a.mp4", site.put("/b.mp4", b"<html>", type="text/html"))
    assert "1 of 2 obtained" in said and entries["/b.mp4"]["error"] == "the server sent a web page (text/html), not a video"


def test_urls_from_a_file(site, film, get, tmp_path):
    (tmp_path / "urls.txt").write_text(f"# walks\n{site.put('/a.mp4', film)}\n\n  {site.put('/b.mp4', film)}\n{site.url}/a.mp4\n")
    said, _ = get("--url_file", tmp_path / "urls.txt")
    assert "2 of 2 obtained" in said and len(site.asked) == 2


class FakeTube:
    """What pytube 15 offers, for videos on our server."""

    def __init__(self, site):
        self.site = site
        self.YouTube, self.Playlist = self.video, lambda url: types.SimpleNamespace(video_urls=[url.split("list=")[1] + name for name in "ab"])

    def video(self, url):
        if url.endswith("b"):
            raise KeyError("streamingData")
        streams = [types.SimpleNamespace(resolution=height, url=f"{self.site.url}/{height}") for height in ("240p", "720p", None, "360p")]
        return types.SimpleNamespace(streams=types.SimpleNamespace(filter=lambda file_extension: streams), video_id="x1", title="A walk?",
                                     author="somebody", length=2)


def test_pytube(site, film, get, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytube", FakeTube(site))
    site.put("/360p", film, cuts=[4000])
    said, entries = get(f"https://tube/playlist?list={site.url}/watch?v=", "--backend", "pytube", "--max_height", 480)
    assert "has not been maintained since" in said.splitlines()[0] and "1 of 2 obtained" in said
    assert entries["/watch?v=a"]["title"] == "A walk?" and files(tmp_path) == {"A walk_.mp4": film} and site.ranges("/360p") == [None, "bytes=4000-"]
    assert "streamingData" in entries["/watch?v=b"]["error"]
    site.put("/360p", film)
    with pytest.raises(UserError, match="too long: 2 s"):
        get(f"{site.url}/watch?v=3", "--backend", "pytube", "--max_duration", 1)


def test_a_real_clip_arrives_whole(site, clips, get, tmp_path):
    data = (clips / "bikes.mp4").read_bytes()
    _, entries = get(site.put("/bikes.mp4", data, cuts=[100_000]))
    assert files(tmp_path)["bikes.mp4"] == data and entries["/bikes.mp4"]["duration"] == 10.0


class TestYtDlp:
    """Through yt-dlp's generic extractor."""

    @pytest.fixture(autouse=True)
    def _installed(self):
        pytest.importorskip("yt_dlp", reason="yt-dlp is not installed")

    def test_pages_with_videos_are_playlists(self, site, film, get, tmp_path):
        page = site.put("/page", b'<html><title>Walks</title><video src="/1.mp4"></video><video src="/2.mp4"></video></html>', type="text/html")
        for name in "12":
            site.put(f"/{name}.mp4", film)
        said, entries = get(page)
        assert set(files(tmp_path)) == {"Walks (1).mp4", "Walks (2).mp4"} and "2 of 2 obtained" in said
        assert {entry["playlist"] for entry in entries.values()} == {page} and not get.kept
        asked = len(site.asked)
        assert "2 of 2 obtained" in get(page)[0] and len(site.asked) == asked + 1  # the list alone
        (tmp_path / "videos" / "Walks (1).mp4").unlink()
        assert "1 of 1 obtained" in get(page, "--max_videos", 1)[0] and len(files(tmp_path)) == 2

    def test_a_feed(self, site, film, get, tmp_path):
        items = "".join(f"<item><title>Part {name}</title><enclosure url='{site.put(f'/{name}', film)}' type='video/mp4'/></item>"
                        for name in ("1.mp4", "2?x=1"))
        site.put("/2", film)
        feed = site.put("/feed", f"<?xml version='1.0'?><rss version='2.0'><channel><title>F</title>{items}</channel></rss>".encode(),
                        type="application/rss+xml")
        said, entries = get(feed)
        assert "2 of 2 obtained" in said and files(tmp_path) == {"Part 1.mp4.mp4": film, "Part 2_x=1.mp4": film}

    def test_a_stream_in_pieces(self, site, get, tmp_path):
        pieces = [write_film(tmp_path / f"{name}.ts", moving(25, seed=name), options={"crf": "20", "g": "25"}).read_bytes() for name in (0, 1)]
        for name, piece in enumerate(pieces):
            site.put(f"/{name}.ts", piece, type="video/mp2t")
        text = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n0.ts\n#EXT-X-DISCONTINUITY\n#EXTINF:1,\n1.ts\n#EXT-X-ENDLIST\n"
        said, entries = get(site.put("/walk.m3u8", text.encode(), type="application/vnd.apple.mpegurl"))
        assert list(files(tmp_path).values()) == [b"".join(pieces)] and "1 of 1 obtained" in said

    @pytest.mark.parametrize("options, reason, status", [
        (dict(status=404), "HTTP Error 404", "failed"), (dict(body=b"<html>no video", type="text/html"), "Unsupported URL", "failed"),
        (dict(body=b"x" * 9999, endless=True), "too large: more than 100,000", "skipped"),
        (dict(body=b"x" * 2048, length=200_000), "too large: 200,000 bytes", "skipped"),
        (dict(body=b"x" * 5000), "no video that can be read", "failed")])
    def test_failures(self, site, film, get, tmp_path, options, reason, status):
        bad = site.put("/watch", **options)
        said, entries = get(bad, site.put("/good", film), "--max_size", "100kB")
        assert reason in entries["/watch"]["error"] and entries["/watch"]["status"] == status and "1 of 2 obtained" in said
        assert files(tmp_path) == {"good.mp4": film}

    def test_a_file_address_that_shows_a_page(self, site, film, get, tmp_path):
        site.put("/real.mp4", film)
        get(site.put("/File:walk.webm", b'<html><title>Walk</title><video src="/real.mp4"></video></html>', type="text/html"))
        assert files(tmp_path) == {"Walk (1).mp4": film}

    def test_too_long_is_asked_once(self, site, film, get):
        for _ in range(2):
            with pytest.raises(UserError, match="too long: 2 s"):
                get(site.put("/watch", film), "--max_duration", 1)
        assert len(site.asked) == 2  # once to look, once to fetch, and not again

    def test_a_site_that_only_refuses_is_left(self, site, film, get):
        page = site.put("/page", b"".join([b"<html>", *(b'<video src="/%d.mp4"></video>' % n for n in range(15)), b"</html>"]), type="text/html")
        said, entries = get(page, site.put("/good", film))
        assert f"{page}: 10 failures in a row, the rest is left" in said and "1 of 11 obtained" in said and "--cookies" in said

    def test_cookies_are_read_only(self, site, film, get, tmp_path):
        cookies = tmp_path / "cookies.txt"
        cookies.write_text("# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tkey\tsecret\n")
        get(site.put("/watch", film), "--cookies", cookies)
        assert site.asked[0][1]["Cookie"] == "key=secret" and cookies.read_text().count("\n") == 2

    def test_a_cut_connection_is_resumed(self, site, film, get, tmp_path):
        url = site.put("/watch", film, cuts=[len(film), 3000, 3000])  # the first request only looks
        get(url)
        assert files(tmp_path) == {"watch.mp4": film} and site.ranges("/watch")[-1] == "bytes=6000-"

    def test_a_full_disk(self, site, film, get, tmp_path):
        ended = on_a_small_disk([site.put("/watch", film), *HASTE, "--out", tmp_path / "videos"], 2000)
        assert ended.returncode == 2 and ended.stderr.count("\n") == 1 and "disk is full" in ended.stderr
