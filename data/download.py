"""Videos from the web into a folder to train on, with a manifest of what came from where.

    python -m data.download URL... --out videos/ --max_videos 20 --max_duration 600

A URL is a web page (sites, playlists, searches such as ytsearch5:basketball) or a video file (http, https or file). The same command
again skips what is complete and goes on with what is not.
"""

import math
import os
import re
import shlex
import urllib.parse
import warnings
from dataclasses import dataclass, field
from http.cookiejar import LoadError, MozillaCookieJar
from pathlib import Path
from typing import Literal

from configs.cli import parse
from data.collect import Collector, Plan, Tally, is_file
from data.fetch import Limits, disk_full
from data.manifest import NAME, Manifest
from data.sites import BLOCKED, PYTUBE_WARNING, Pytube, Wish, YtDlp
from utils.errors import UserError, need, script
from utils.files import try_lock

_UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SEARCH = re.compile(r"ytsearch(date)?\d*:.")


@dataclass
class DownloadConfig:
    """What to download. URLs need no flag."""

    urls: list[str] = field(default_factory=list)
    """Pages, playlists, video files; given as plain words."""
    url_file: str | None = None
    """Text file of further URLs, one in a line; lines that begin with # are passed over."""
    out: str = "videos"
    """Folder for the videos and manifest.json."""
    backend: Literal["yt-dlp", "pytube", "direct"] = "yt-dlp"
    """Program that reads web pages; direct: none, every URL is a video file. Video files are always fetched directly."""
    max_videos: int = 20
    """Stop when this many of those asked for are there, from this command or an earlier one; other files in `out` do not count."""
    max_duration: float = 600.0
    """Seconds; longer videos are left out."""
    max_size: int | str = "500MB"
    """Largest video, in bytes or with a unit (500MB, 2GiB)."""
    max_total: int | str = "10GB"
    """Largest size of all videos in the manifest together."""
    max_height: int = 480
    """Pixels; sites that offer several sizes are asked for the largest that is no higher."""
    sleep: float = 1.0
    """Seconds from one visit to the next: sites shut out those who hurry."""
    retries: int = 3
    """How often a request that failed, and might succeed later, is tried again."""
    backoff: float = 1.0
    """Seconds before the first retry; each further one waits twice as long."""
    timeout: float = 30.0
    """Seconds without an answer after which a server is given up."""
    cookies: str | None = None
    """Your cookies in Netscape format (cookies.txt), for what needs them. The file is only read."""

    def check(self) -> "DownloadConfig":
        """Raises UserError naming the flag; sizes become bytes. Returns itself."""
        for name, least in (("max_videos", 1), ("max_height", 1), ("retries", 0), ("sleep", 0), ("backoff", 0)):
            need(name, getattr(self, name), least <= getattr(self, name) < math.inf, f"at least {least}")
        for name in ("max_duration", "timeout"):
            need(name, getattr(self, name), getattr(self, name) > 0, "above 0")
        need("timeout", self.timeout, self.timeout <= 1e6, "at most 1e6 seconds")
        for name in ("max_size", "max_total"):
            setattr(self, name, _bytes(name, getattr(self, name)))
        return self


def _bytes(flag: str, text: int | str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kmgt]?)(i?)b?", str(text).strip().lower())
    size = int(float(found[1]) * (1024 if found[3] else 1000) ** _UNITS[found[2]]) if found else 0
    need(flag, text, size >= 1, "a size such as 500MB, 2GiB or 1000000")
    return size


def _wishes(config: DownloadConfig) -> list[Wish]:
    urls = list(config.urls)
    if config.url_file is not None:
        try:
            lines = Path(config.url_file).read_text(encoding="utf-8-sig").splitlines()  # as Windows writes it, too
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            raise UserError(f"--url_file {config.url_file}: cannot be read: {reason}") from None
        urls += [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not urls:
        raise UserError("no URL given: python -m data.download URL... --out videos/")
    for url in urls:
        try:
            place = urllib.parse.urlsplit(url)
        except ValueError as error:
            raise UserError(f"{url}: is not a URL: {error}") from None
        if place.scheme not in ("http", "https", "file") and not (config.backend == "yt-dlp" and _SEARCH.match(url)):
            raise UserError(f"{url}: is not a URL (http://, https:// or file://); videos that you have need no download: train.py --data")
        if place.scheme in ("http", "https") and not place.netloc:
            raise UserError(f"{url}: names no server")
        if "@" in place.netloc:
            host = place.netloc.rpartition("@")[2]
            raise UserError(f"{place.scheme}://...@{host}: holds a password, which would stand in the manifest; use --cookies")
    return [Wish(url) for url in urls]


def _cookies(path: str | None) -> tuple[MozillaCookieJar | None, str | None]:
    """The cookies for our own requests, and the text for yt-dlp."""
    if path is None:
        return None, None
    jar = MozillaCookieJar(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the standard library shows its own traceback beside the error it raises
            jar.load(ignore_discard=True, ignore_expires=True)
    except LoadError:
        raise UserError(f"--cookies {path}: is not in Netscape format (its first line must be '# Netscape HTTP Cookie File', and each "
                        "cookie a line of seven fields with tabs between them)") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--cookies {path}: cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from None
    for cookie in jar:
        if cookie.expires == 0:  # what browsers export for "until I close the window", which the standard library takes for 1970
            cookie.expires, cookie.discard = None, True
    return jar, text


def _claim(folder: Path) -> int:
    """Make the folder this process's own until it ends; clear away what a crash left of a manifest."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out {folder}: is a file; give a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"--out {folder}: cannot be used: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise UserError(f"--out {folder}: cannot be written; choose a folder you may write to")
    if not try_lock(handle):
        os.close(handle)
        raise UserError(f"--out {folder}: another download is filling it; wait for it, or use another --out")
    for leftover in folder.glob(f".{Path(NAME).stem}.*.tmp.json"):
        leftover.unlink()
    return handle


def download(config: DownloadConfig, say=print) -> Tally:
    """Get what ``config`` asks for into ``config.out``; failures are in the tally, not raised. ``say`` takes each line of the report.

    Raises UserError for mistakes, a missing backend, and a full disk.
    """
    wishes, limits = _wishes(config), Limits(config.max_size, config.timeout, config.retries, config.backoff)
    jar, text = _cookies(config.cookies)
    site = {"yt-dlp": lambda: YtDlp(config.max_height, limits, text), "pytube": lambda: Pytube(config.max_height),
            "direct": None}[config.backend]
    if config.backend == "pytube":
        say(PYTUBE_WARNING)
    if site is not None and not all(is_file(wish.url) for wish in wishes):
        site()  # what is missing is missed before anything is done
    folder = Path(os.path.expanduser(config.out))
    lock = _claim(folder)
    try:
        plan = Plan(config.max_videos, config.max_duration, config.max_total, config.sleep, limits, jar, site, say)
        return Collector(folder, Manifest(folder), plan).collect(wishes)
    except OSError as error:
        raise disk_full(error, folder) or error from None
    finally:
        os.close(lock)


def main(argv: list[str] | None = None) -> int:
    config = parse(DownloadConfig, argv, description=__doc__, words="urls")
    tally = download(config, say=lambda line: print(line, flush=True))
    total = len(tally.obtained) + len(tally.missed)
    size, seconds = sum(entry.bytes for entry in tally.obtained), sum(entry.duration or 0 for entry in tally.obtained)
    print(f"\n{len(tally.obtained)} of {total} obtained: {size / 1e6:.1f} MB, {seconds:.0f} s of video in {config.out}; manifest: "
          f"{Path(config.out) / NAME}")
    if len(tally.obtained) >= config.max_videos:
        print(f"--max_videos {config.max_videos} is reached")
    for note in tally.notes:
        print(note)
    if tally.missed:
        print("not obtained:")
        for entry in tally.missed:
            print(f"  {entry.url}: {entry.error}")
        if any(entry.status == "failed" and not is_file(entry.url) for entry in tally.missed) and config.backend != "direct":
            print(BLOCKED)
    if not tally.obtained:
        reason = tally.missed[0].error if tally.missed else (tally.notes or ["the playlist is empty"])[0]
        raise UserError(f"--out {config.out}: not one video was obtained: {reason}")
    run = Path("runs") / (Path(config.out).resolve().name or "videos")
    if run.resolve().is_relative_to(Path(config.out).resolve()):  # a run does not go among its videos
        run = ".." / run
    print(f"train on them: python train.py --config configs/dcgan.yaml --data {shlex.quote(config.out)} --out {shlex.quote(str(run))}")
    return 0


if __name__ == "__main__":
    script(main)
