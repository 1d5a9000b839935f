"""Downloading from pages: yt-dlp's generic extractor on a server of ours, and a stand-in for pytube."""

import contextlib
import hashlib
import sys
import types

import pytest

from data.dataset import VideoDataset
from data.fetch import Limits
from data.layouts import find_sources
from data.sites import Pytube, YtDlp

from tests.data.downloads import HASTE, files, film, get, on_a_small_disk, site  # noqa: F401
from tests.data.films import moving, write_film
from utils.errors import UserError


class FakeTube:
    """What pytube 15 offers, for videos on our server."""

    def __init__(self, site):
        self.site = site
        self.YouTube, self.Playlist = self.video, lambda url: types.SimpleNamespace(
            video_urls=[url.split("list=")[1] + name for name in "ab"])

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
    assert entries["/watch?v=a"]["title"] == "A walk?" and files(tmp_path) == {"A walk_.mp4": film}
    assert site.ranges("/360p") == [None, "bytes=4000-"]
    assert "streamingData" in entries["/watch?v=b"]["error"]
    site.put("/360p", film)
    with pytest.raises(UserError, match="too long: 2 s"):
        get(f"{site.url}/watch?v=3", "--backend", "pytube", "--max_duration", 1)


class TestYtDlp:
    """Through yt-dlp's generic extractor."""

    @pytest.fixture(autouse=True)
    def _installed(self):
        pytest.importorskip("yt_dlp", reason="yt-dlp is not installed")

    @pytest.mark.parametrize("heights, chosen", [((240, 360, 720), "360"), ((720, 1080), "720")])
    def test_the_height_asked_for_is_the_most(self, heights, chosen):
        formats = [{"format_id": str(height), "url": f"http://host/{height}.mp4", "ext": "mp4", "height": height, "vcodec": "avc1",
                    "acodec": "mp4a"} for height in heights]
        about = {"id": "x", "title": "x", "extractor": "x", "extractor_key": "X", "formats": formats}
        assert YtDlp(480, Limits(10**9), None)._ydl.process_video_result(about, download=False)["format_id"] == chosen

    def test_pages_with_videos_are_playlists(self, site, film, get, tmp_path):
        page = site.put("/page", b'<html><title>Walks</title><video src="/1.mp4"></video><video src="/2.mp4"></video></html>',
                        type="text/html")
        for name in "12":
            site.put(f"/{name}.mp4", film)
        said, entries = get(page)
        assert set(files(tmp_path)) == {"Walks (1).mp4", "Walks (2).mp4"} and "2 of 2 obtained" in said
        assert {entry["playlist"] for entry in entries.values()} == {page} and not get.kept
        asked = len(site.asked)
        assert "2 of 2 obtained" in get(page)[0] and len(site.asked) == asked + 1  # the list alone
        (tmp_path / "videos" / "Walks (1).mp4").unlink()
        assert "1 of 1 obtained" in get(page, "--max_videos", 1)[0] and len(files(tmp_path)) == 2

    def test_real_clips_of_a_page_can_be_trained_on(self, site, clips, get, tmp_path):
        page = site.put("/page", b'<html><title>Clips</title><video src="/1.mp4"></video><video src="/2.mp4"></video></html>',
                        type="text/html")
        for number, name in enumerate(("bikes.mp4", "carphone_pristine.mp4"), 1):
            site.put(f"/{number}.mp4", (clips / name).read_bytes(), cuts=[50_000])
        said, entries = get(page)
        assert "2 of 2 obtained" in said and not get.kept
        assert {entry["sha256"] for entry in entries.values()} == {
            hashlib.sha256((clips / name).read_bytes()).hexdigest() for name in ("bikes.mp4", "carphone_pristine.mp4")}
        dataset = VideoDataset(tmp_path / "videos", 32, 32, 8, frame_skip=4, cache_dir=tmp_path / "cache", quiet=True)
        assert len(dataset.names) == 2 and not dataset.report.unusable and dataset[0]["video"].float().std() > 10

    def test_a_feed(self, site, film, get, tmp_path):
        items = "".join(f"<item><title>Part {name}</title><enclosure url='{site.put(f'/{name}', film)}' type='video/mp4'/></item>"
                        for name in ("1.mp4", "2?x=1"))
        site.put("/2", film)
        feed = site.put("/feed", f"<?xml version='1.0'?><rss version='2.0'><channel><title>F</title>{items}</channel></rss>".encode(),
                        type="application/rss+xml")
        said, entries = get(feed)
        assert "2 of 2 obtained" in said and files(tmp_path) == {"Part 1.mp4.mp4": film, "Part 2_x=1.mp4": film}

    @pytest.mark.parametrize("address, type", [("/walk", "application/octet-stream"), ("/walk.php", "application/octet-stream"),
                                               ("/walk.php", "video/mp4")])
    def test_whatever_a_server_calls_it_training_finds_it(self, site, film, get, tmp_path, address, type):
        get(site.put(address, film, type=type))
        assert files(tmp_path) == {"walk.mp4": film} and len(find_sources(tmp_path / "videos").sources) == 1

    @pytest.mark.parametrize("source", ["get.php?id=3", "stream/3"])
    def test_nor_what_a_page_calls_it(self, site, film, get, tmp_path, source):
        site.put("/" + source.partition("?")[0], film)
        get(site.put("/page", f'<html><title>Walk</title><video src="/{source}"></video></html>'.encode(), type="text/html"))
        assert list(files(tmp_path).values()) == [film] and len(find_sources(tmp_path / "videos").sources) == 1

    @pytest.mark.parametrize("address, type", [("/song.mp3", "audio/mpeg"), ("/song.mp3", "application/octet-stream")])
    def test_sound_is_no_video(self, site, get, tmp_path, address, type):
        with contextlib.suppress(UserError):
            get(site.put(address, b"ID3" + bytes(2000), type=type))
        assert not any(name.endswith(".mp4") for name in files(tmp_path))

    def test_what_a_list_has_lost_does_not_end_it(self):
        entries = [None, {"id": "a"}, {}, {"_type": "url"}, {"_type": "url", "url": "http://host/b"}]
        found = YtDlp(480, Limits(10**9), None)._wishes({"entries": entries}, "u")
        assert [wish.url for wish in found] == ["u#a", "http://host/b"]

    def test_a_stream_in_pieces(self, site, get, tmp_path):
        pieces = [write_film(tmp_path / f"{name}.ts", moving(25, seed=name), options={"crf": "20", "g": "25"}).read_bytes()
                  for name in (0, 1)]
        for name, piece in enumerate(pieces):
            site.put(f"/{name}.ts", piece, type="video/mp2t")
        text = ("#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n"
                "#EXTINF:1,\n0.ts\n#EXT-X-DISCONTINUITY\n#EXTINF:1,\n1.ts\n#EXT-X-ENDLIST\n")
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
        page = site.put("/page", b"".join([b"<html>", *(b'<video src="/%d.mp4"></video>' % n for n in range(15)), b"</html>"]),
                        type="text/html")
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

    def test_what_the_limits_exclude_does_not_end_a_playlist(self, site, film, get, tmp_path):
        long = write_film(tmp_path / "long.mp4", moving(80), faststart=True).read_bytes()
        names = [f"{number}.mp4" for number in range(12)]
        page = site.put("/page", "".join(f'<video src="/{name}"></video>' for name in names).encode(), type="text/html")
        for name in names:
            site.put(f"/{name}", film if name == names[-1] else long)
        said, _ = get(page, "--max_duration", 3)
        assert list(files(tmp_path).values()) == [film] and "1 of 12 obtained" in said
        said, _ = get(page, "--max_duration", 3)
        assert "1 of 12 obtained" in said

    def test_a_playlist_ends_where_the_disk_is_as_full_as_it_may_be(self, site, film, get):
        names = [f"{number}.mp4" for number in range(6)]
        page = site.put("/page", "".join(f'<video src="/{name}"></video>' for name in names).encode(), type="text/html")
        for name in names:
            site.put(f"/{name}", film)
        said, entries = get(page, "--max_total", 2 * len(film))
        assert "2 of 3 obtained" in said and "--max_total is reached, the rest is left" in said

    def test_a_newer_upload_is_not_joined_to_what_came_of_the_old_one(self, site, film, get, tmp_path):
        """By yt-dlp, as the address does not end like a film's."""
        page = site.put("/walk", film, cuts=[3000, 5000, 5000], headers={"Last-Modified": "Sun, 01 Jan 2023 00:00:00 GMT"})
        with pytest.raises(UserError):
            get(page, "--retries", 0)
        assert any(name.endswith(".part") for name in get.kept)
        new = write_film(tmp_path / "new.mp4", moving(50, seed=3), faststart=True).read_bytes()
        site.put("/walk", new, headers={"Last-Modified": "Mon, 02 Jan 2023 00:00:00 GMT"})
        get(page)
        assert list(files(tmp_path).values()) == [new] and not get.kept


@pytest.mark.parametrize("most, chosen", [(100, "240p"), (240, "240p"), (719, "360p"), (2160, "720p")])
def test_pytube_takes_the_largest_within_the_height_and_else_the_smallest(monkeypatch, most, chosen):
    monkeypatch.setitem(sys.modules, "pytube", FakeTube(types.SimpleNamespace(url="http://tube")))
    assert Pytube(most).find("http://tube/watch?v=a")[0] == f"http://tube/{chosen}"
