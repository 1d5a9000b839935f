"""Downloading: hostile names, foreign manifests, and mistakes on the command line."""

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.download import main
from data.filenames import folded, free_name, safe_stem
from data.layouts import find_sources
from tests.conftest import ROOT
from tests.data.downloads import files, film, get, site  # noqa: F401
from utils.errors import UserError


def test_names_stay_inside_and_apart(site, film, get, tmp_path):
    paths = ["/..%2F..%2Fevil.mp4", "/.hidden.mp4", "/CON.mp4", "/a/Clip.mp4", "/b/clip.mp4", "/%E5%9F%8E%E5%B8%82%20walk.mp4",
             "/" + "%C3%A9" * 100 + ".mp4", "/%00%0A.mp4", "/q.mp4", "/-rf.mp4"]
    for path in paths:
        site.put(path, film)
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "q.mp4").write_text("mine")
    said, entries = get(*(site.url + path for path in paths), "--backend", "direct")
    names = {path: entry["file"] for path, entry in entries.items()}
    assert set(files(tmp_path)) == {*names.values(), "q.mp4"} and len(set(names.values())) == 10
    assert not (tmp_path.parent / "evil.mp4").exists()
    assert names[paths[0]] == "evil.mp4" and names[paths[1]] == "hidden.mp4" and names[paths[2]] == "CON_.mp4"
    assert names[paths[9]] == "rf.mp4"
    assert names[paths[3]] == "Clip.mp4" and names[paths[4]].startswith("clip-") and names[paths[5]] == "城市 walk.mp4"
    assert names[paths[6]] == "é" * 60 + ".mp4" and files(tmp_path)["q.mp4"] == b"mine"
    assert len(find_sources(tmp_path / "videos").sources) == 11


@given(title=st.text(max_size=300), id=st.text(max_size=20), taken=st.lists(st.text(max_size=5), max_size=3))
def test_any_title_makes_a_name(title, id, taken):
    stem = safe_stem(title)
    assert len(stem.encode()) <= 121 and not set(stem) & set('/\\:*?"<>|\0\n\r') and stem.strip(" .") == stem
    assert stem[:1] not in ("-", "~", ".")
    assert safe_stem(stem) == stem
    first = free_name(title, id, "0123456789abcdef", ".mp4", [])
    others = [first, *taken]
    while len(others) < 6:
        others.append(free_name(title, id, "0123456789abcdef", ".mp4", others))
        assert folded(others[-1]) not in map(folded, others[:-1]) and len(others[-1].encode()) < 255
        assert others[-1] == os.path.basename(others[-1])


@pytest.mark.parametrize("text",
                         ["{half a", "[]", '{"format": 9, "videos": []}', '{"format": 1, "videos": [{"url": "a", "file": "../b.mp4"}]}',
                          '{"format": 1, "videos": [{"url": "a", "bytes": "many"}]}', '{"format": 1, "videos": [{"name": "a"}]}'])
def test_a_foreign_manifest_is_left_alone(site, film, get, tmp_path, text):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "manifest.json").write_text(text)
    with pytest.raises(UserError, match="manifest.json: is not a manifest of downloads"):
        main([site.put("/a.mp4", film), "--out", str(tmp_path / "videos")])
    assert (tmp_path / "videos" / "manifest.json").read_text() == text and not site.asked


WRONG = {
    "nothing": ([], "no URL given"), "no URL": (["videos/a.mp4"], "videos/a.mp4: is not a URL"),
    "no server": (["http:///a.mp4"], "names no server"),
    "brackets": (["http://[a/b.mp4"], "is not a URL"), "password": (["http://me:word@host/a.mp4"], "holds a password"),
    "other scheme": (["ftp://host/a.mp4"], "is not a URL"),
    "search, wrong backend": (["ytsearch5:walk", "--backend", "direct"], "is not a URL"),
    "flag": (["http://host/a.mp4", "--nope", "1"], "--nope"), "number": (["http://host/a.mp4", "--max_videos", "0"], "--max_videos 0"),
    "size": (["http://host/a.mp4", "--max_size", "big"], "--max_size big"),
    "no size": (["http://host/a.mp4", "--max-size", "0"], "--max_size 0"),
    "seconds": (["http://host/a.mp4", "--max_duration", "nan"], "--max_duration"),
    "wait": (["http://host/a.mp4", "--sleep", "-1"], "--sleep -1"),
    "backend": (["http://host/a.mp4", "--backend", "wget"], "--backend"),
    "cookies": (["http://host/a.mp4", "--cookies", "{tmp}/no.txt"], "no.txt"),
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


def test_cookies_with_spaces_for_tabs_are_one_line(tmp_path, recwarn):
    path = tmp_path / "cookies.txt"
    path.write_text("# Netscape HTTP Cookie File\nhost FALSE / FALSE 0 name value\n")
    with pytest.raises(UserError, match="seven fields with tabs between them"):
        main(["http://host/a.mp4", "--cookies", str(path), "--out", str(tmp_path / "new")])
    assert not recwarn.list and os.listdir(tmp_path) == ["cookies.txt"]


def test_a_mistake_on_the_command_line():
    ended = subprocess.run([sys.executable, "-m", "data.download"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2 and ended.stderr.startswith("error: no URL given") and ended.stderr.count("\n") == 1


def test_a_file_on_disk_has_its_limit(film, get, tmp_path):
    (tmp_path / "big.mp4").write_bytes(film)
    with pytest.raises(UserError, match="too large"):
        get((tmp_path / "big.mp4").as_uri(), "--max_size", "1kB")
