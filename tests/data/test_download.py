import hashlib
import os
import re
import signal
import subprocess
import sys
import time
import types

import pytest

from data import collect
from data.download import main
from data.layouts import find_sources
from data.manifest import Manifest
from tests.conftest import ROOT
from tests.data.downloads import HASTE, files, film, get, on_a_small_disk, site  # noqa: F401
from tests.data.films import moving, write_film
from utils.errors import UserError


@pytest.mark.parametrize("out, run", [(".", "../runs/videos"), ("../videos", "../runs/videos"), ("more", "runs/more")])
def test_the_run_that_is_proposed_is_not_among_the_videos(site, film, capsys, tmp_path, monkeypatch, out, run):
    (tmp_path / "videos").mkdir()
    monkeypatch.chdir(tmp_path / "videos")
    assert main([*map(str, HASTE), site.put("/a.mp4", film), "--out", out]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(f"--data {out} --out {run}")


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


def fails(task, beat):
    raise RuntimeError


def test_a_whole_part_needs_no_second_visit(site, film, get, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(collect, "probe", fails)
        with pytest.raises(RuntimeError):
            get(site.put("/a.mp4", film))
    get(site.url + "/a.mp4")
    assert len(site.asked) == 1


def test_another_range_than_the_one_asked_for_is_not_joined(site, film, get, tmp_path):
    lies = {"Content-Range": f"bytes 0-{len(film) - 1}/{len(film)}"}
    get(site.put("/a.mp4", film, cuts=[1000], headers=lies))
    assert files(tmp_path) == {"a.mp4": film} and site.ranges("/a.mp4") == [None, "bytes=1000-", None]


def test_a_transfer_that_gets_on_is_not_given_up(site, film, get, tmp_path, monkeypatch):
    monkeypatch.setattr("data.fetch._PROGRESS", 900)
    get(site.put("/far.mp4", film, cuts=[1000] * 4), "--retries", 1)
    assert files(tmp_path) == {"far.mp4": film}


def test_visits_are_as_far_apart_as_asked(site, film, get, monkeypatch):
    waits = []
    monkeypatch.setattr("data.collect.time", types.SimpleNamespace(sleep=waits.append, monotonic=time.monotonic))
    get(site.put("/a.mp4", film), site.put("/b.mp4", film), "--sleep", 50)
    assert waits[0] == 0 and 40 < waits[1] <= 50


BAD = {
    "404": (dict(status=404), "HTTP 404"), "403": (dict(status=403), "HTTP 403"),
    "always 503": (dict(status=503), "HTTP 503 .* tried 3 times"),
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


def ends_its_process(task, beat):
    os._exit(1)


def test_what_ends_the_decoder_does_not_end_the_download(site, film, get, tmp_path, monkeypatch):
    monkeypatch.setattr("data.collect.probe", ends_its_process)
    with pytest.raises(UserError, match="no video that can be read: the decoder"):
        get(site.put("/a.mp4", film))
    assert not files(tmp_path)
    monkeypatch.undo()
    assert "1 of 1 obtained" in get(site.put("/a.mp4", film))[0]


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
    _, entries = get("http://127.0.0.1:9/a.mp4", slow, site.put("/good.mp4", film), "--retries", 1, "--timeout", 1)
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
    said, entries = get((tmp_path / "my film.mp4").as_uri(), (tmp_path / "gone.mp4").as_uri(), "file:///dev/zero", "file://elsewhere/a.mp4",
                        f"file:///{'long' * 100}.mp4")
    assert "1 of 5 obtained" in said and files(tmp_path) == {"my film.mp4": film}


def test_cookies_are_sent_and_left_alone(site, film, get, tmp_path):
    cookies = tmp_path / "cookies.txt"
    cookies.write_text("# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tkey\tsecret\n"
                       "elsewhere.org\tFALSE\t/\tFALSE\t0\tno\tno\n")
    before = cookies.read_text()
    get(site.put("/a.mp4", film), "--cookies", cookies)
    assert site.asked[0][1]["Cookie"] == "key=secret" and cookies.read_text() == before


def test_without_yt_dlp_pages_are_refused_and_files_come(site, film, get, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yt_dlp", None)
    with pytest.raises(UserError, match="pip install yt-dlp"):
        get(site.url + "/watch?v=1", site.put("/a.mp4", film))
    assert not (tmp_path / "videos").exists()
    said, entries = get(site.url + "/a.mp4", site.put("/b.mp4", b"<html>", type="text/html"))
    assert "1 of 2 obtained" in said and entries["/b.mp4"]["error"] == "the server sent a web page (text/html), not a video"


def test_urls_from_a_file(site, film, get, tmp_path):
    (tmp_path / "urls.txt").write_text(f"# walks\n{site.put('/a.mp4', film)}\n\n  {site.put('/b.mp4', film)}\n{site.url}/a.mp4\n",
                                         encoding="utf-8-sig")
    said, _ = get("--url_file", tmp_path / "urls.txt")
    assert "2 of 2 obtained" in said and len(site.asked) == 2


def test_a_real_clip_arrives_whole(site, clips, get, tmp_path):
    data = (clips / "bikes.mp4").read_bytes()
    _, entries = get(site.put("/bikes.mp4", data, cuts=[100_000]))
    assert files(tmp_path)["bikes.mp4"] == data and entries["/bikes.mp4"]["duration"] == 10.0


def test_only_what_is_there_counts_towards_max_total(site, film, get, tmp_path):
    urls = [site.put("/a.mp4", film), site.put("/b.mp4", film)]
    get(*urls)
    limit = ["--max_total", int(2.5 * len(film))]
    (tmp_path / "videos" / "a.mp4").unlink()
    assert "2 of 2 obtained" in get(*urls, *limit)[0], "a lost file does not count against itself"
    (tmp_path / "videos" / "b.mp4").unlink()
    assert "2 of 2 obtained" in get(urls[0], site.put("/c.mp4", film), *limit)[0], "nor against others"


def test_unfinished_files_count_towards_max_total(site, film, get):
    with pytest.raises(UserError, match="connection ended"):
        get(site.put("/cut.mp4", film, cuts=[len(film) - 9]), "--retries", 0)
    with pytest.raises(UserError, match="too large"):
        get(site.put("/a.mp4", film), "--max_total", int(1.5 * len(film)))
    assert "1 of 1 obtained" in get(site.put("/cut.mp4", film), "--max_total", int(1.5 * len(film)))[0], "it does not stand in its own way"
