"""From wishes to files in place: each video is tried, checked, named and noted, and none of them can stop the others."""

import math
import os
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from hashlib import sha256
from http.cookiejar import CookieJar
from pathlib import Path

from data.fetch import Limits, NotObtained, WebPage, fetch
from data.filenames import free_name
from data.health import UNUSABLE, USABLE
from data.layouts import VIDEO_ENDINGS
from data.manifest import Entry, Manifest
from data.pool import Failure, WorkerPool
from data.probe import ProbeTask, probe
from data.sites import About, Pytube, TooLong, Wish, YtDlp
from utils.errors import UserError
from utils.files import fsync_path, sha256_of

_GIVE_UP = 10  # failures in a row after which a playlist is left: a site that refuses should not be asked a thousand times
_ENDING_OF = {"video/webm": ".webm", "video/quicktime": ".mov", "video/x-matroska": ".mkv", "video/x-msvideo": ".avi", "video/ogg": ".ogv",
              "video/mpeg": ".mpg", "video/x-flv": ".flv", "image/gif": ".gif"}
_PROGRESS_EVERY = 10.0  # seconds


@dataclass
class Plan:
    """What is wanted. Sizes in bytes, times in seconds; ``site`` makes the way to web pages, None where only files are fetched."""

    max_videos: int
    max_duration: float
    max_total: int
    sleep: float
    limits: Limits
    cookies: CookieJar | None
    site: Callable[[], YtDlp | Pytube] | None
    say: Callable[[str], None] = print


@dataclass
class Tally:
    """How it went: one entry for each video that was looked at."""

    obtained: list[Entry] = field(default_factory=list)
    missed: list[Entry] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def is_file(url: str) -> bool:
    """Whether an address names a video file, and no page."""
    place = urllib.parse.urlsplit(url)
    return place.scheme == "file" or place.scheme in ("http", "https") and _ending(place.path) in VIDEO_ENDINGS


@dataclass
class _List:
    """A playlist under way (or what the user named, without a URL), and the failures in a row that it has had."""

    wishes: Iterator[Wish]
    url: str = ""
    failures: int = 0


class Collector:
    """Fills ``folder``; what is under way lies in its hidden folder ``.download``."""

    def __init__(self, folder: Path, manifest: Manifest, plan: Plan):
        self._folder, self._manifest, self._plan = folder, manifest, plan
        self._partial = folder / ".download"
        self._site, self._visited, self._seen = None, -math.inf, set()

    def collect(self, wishes: Iterable[Wish]) -> Tally:
        """Go through ``wishes`` and the playlists behind them until there are enough. Raises UserError if the disk is full."""
        tally = Tally()
        self._partial.mkdir(exist_ok=True)
        lists = [_List(iter(wishes))]
        while lists and len(tally.obtained) < self._plan.max_videos:
            current = lists[-1]
            try:
                wish = next(current.wishes, None)
            except NotObtained as error:
                tally.notes.append(f"{current.url}: the list breaks off: {error}")
                wish = None
            if wish is None:
                lists.pop()
            elif wish.url not in self._seen:
                self._seen.add(wish.url)
                found = self._grant(wish)
                if not isinstance(found, Entry):
                    lists.append(_List(found, wish.url))
                    continue
                good = found.status in USABLE
                (tally.obtained if good else tally.missed).append(found)
                current.failures = 0 if good else current.failures + (found.status == "failed")
                full = found.status == "skipped" and self._held() >= self._plan.max_total
                if current.url and (full or current.failures >= _GIVE_UP):
                    why = "--max_total is reached" if full else f"{_GIVE_UP} failures in a row"
                    tally.notes.append(f"{current.url}: {why}, the rest is left")
                    lists.pop()
        if self._partial.exists() and not any(self._partial.iterdir()):
            self._partial.rmdir()
        return tally

    def _grant(self, wish: Wish) -> "Entry | Iterator[Wish]":
        entry = replace(self._manifest.get(wish.url), playlist=wish.playlist or self._manifest.get(wish.url).playlist)
        if self._manifest.in_place(entry):
            entry.status = "damaged" if entry.error else "ok"  # a crash may have come between the file and its entry
            if entry != self._manifest.get(wish.url):
                self._manifest.put(entry)
            return self._tell(entry, "have")
        if entry.status == "skipped" and self._excluded(entry):
            return self._tell(entry, "skipped")
        if entry.sha256 is not None and self._there(entry):
            self._plan.say(f"  {entry.file} is no longer what was downloaded; it is fetched again")
        key = _key(wish.url)
        part = self._partial / f"{key}.part"
        try:
            found = self._bring(wish, part)
            if not isinstance(found, tuple):
                self._manifest.drop(wish.url)
                return found
            self._settle(entry, key, *found)
        except NotObtained as error:
            # The name of a file that has become another one stays, so that it is replaced when the video comes after all.
            entry = Entry(wish.url, playlist=entry.playlist, title=entry.title, file=entry.file if self._there(entry) else None,
                          status=error.status, error=" ".join(str(error).split()), bytes=error.bytes,
                          duration=getattr(error, "duration", None))
            self._manifest.put(entry)
            if not error.keep:
                self._clear(key)
            return self._tell(entry, error.status)
        self._clear(key)
        return self._tell(entry, entry.status)

    def _there(self, entry: Entry) -> bool:
        return entry.file is not None and (self._folder / entry.file).exists()

    def _held(self, but: str = "") -> int:
        """Bytes of all videos that are there, and of what has arrived of others, without those of one address."""
        files = [self._folder / entry.file for entry in self._manifest.entries.values() if entry.url != but and self._there(entry)]
        files += [file for file in self._partial.glob("*") if not file.name.startswith(_key(but))]
        return sum(file.stat().st_size for file in files)

    def _excluded(self, entry: Entry) -> bool:
        return (entry.duration or 0) > self._plan.max_duration or (entry.bytes or 0) > self._plan.limits.size

    def _bring(self, wish: Wish, part: Path) -> "tuple[Path, str, About] | Iterator[Wish]":
        """The file with its ending and what is known of it, or the playlist that ``wish`` is."""
        plan = self._plan
        held = self._held(wish.url)
        if held >= plan.max_total:
            raise NotObtained(f"--max_total is reached: {held:,} bytes are there", "skipped")
        limits = replace(plan.limits, size=min(plan.limits.size, plan.max_total - held))
        ticker = _Ticker(wish.url)
        linked = wish.hint is None or wish.hint.get("_type") != "video" and wish.hint.get("ie_key") in (None, "Generic")
        if plan.site is None or is_file(wish.url) and linked:
            try:
                return self._fetch(wish, part, limits, ticker)
            except WebPage as error:
                if plan.site is None:
                    raise
                try:
                    return self._visit(wish, part, limits, ticker)
                except NotObtained as second:
                    raise NotObtained(f"{error}; {self._pages().version}: {second}", second.status, second.keep, second.bytes) from None
                except UserError:  # the tool for pages is not installed
                    raise error from None
        return self._visit(wish, part, limits, ticker)

    def _fetch(self, wish: Wish, part: Path, limits: Limits, ticker: "_Ticker") -> tuple[Path, str, About]:
        self._wait(wish.url)
        name = os.path.splitext(urllib.parse.urlsplit(wish.url).path.rsplit("/", 1)[-1])[0]
        kind = fetch(wish.url, part, limits, self._plan.cookies, ticker)
        title = (wish.hint or {}).get("title") or urllib.parse.unquote(name)
        return part, _ending_for(wish.url, kind), About(sha256(wish.url.encode()).hexdigest()[:12], title)

    def _visit(self, wish: Wish, part: Path, limits: Limits, ticker: "_Ticker") -> "tuple[Path, str, About] | Iterator[Wish]":
        site = self._pages()
        self._wait(wish.url)
        found = site.open(wish)
        if isinstance(found, Iterator):
            return found
        if isinstance(site, YtDlp):
            path, about = site.download(found, part, limits.size, self._plan.max_duration, ticker)
            return path, path.suffix, about
        address, about = site.find(found)
        if (about.duration or 0) > self._plan.max_duration:
            raise TooLong(about.duration, self._plan.max_duration)
        fetch(address, part, limits, self._plan.cookies, ticker)
        return part, ".mp4", about

    def _pages(self) -> YtDlp | Pytube:
        if self._site is None:
            self._site = self._plan.site()
        return self._site

    def _wait(self, url: str) -> None:
        if not url.startswith("file:"):
            time.sleep(max(0.0, self._visited + self._plan.sleep - time.monotonic()))
            self._visited = time.monotonic()

    def _settle(self, entry: Entry, key: str, path: Path, ending: str, about: About) -> None:
        """Check what came, and put it in place: noted first as on its way, so that a crash leaves no file that nobody knows."""
        with WorkerPool(1) as pool:
            health, = pool.map(probe, [ProbeTask(str(path), "video", path.name, size=path.stat().st_size, quick=True)])
        if isinstance(health, Failure):
            raise NotObtained(f"what came is no video that can be read: {health.reason}", keep=True)
        if health.status in UNUSABLE:
            raise NotObtained(f"what came is no video that can be read: {health.faults[0]}")
        duration = health.frames / health.fps if health.fps else about.duration
        if (duration or 0) > self._plan.max_duration:
            raise TooLong(duration, self._plan.max_duration)
        entry.id, entry.title, entry.author, entry.licence, entry.site = about.id, about.title, about.author, about.licence, about.site
        entry.duration = round(duration, 3) if duration is not None else None
        entry.sha256, entry.bytes, entry.status = sha256_of(path), path.stat().st_size, "partial"
        entry.error = "; ".join(health.faults) if health.status == "damaged" else None
        entry.fetched = datetime.now(timezone.utc).isoformat(timespec="seconds")
        if entry.file is None or os.path.splitext(entry.file)[1] != ending:
            others = {other.file for other in self._manifest.entries.values() if other.file and other.url != entry.url}
            entry.file = free_name(about.title or "", about.id or "", key, ending, others | set(os.listdir(self._folder)))
        fsync_path(path)
        self._manifest.put(replace(entry))
        os.replace(path, self._folder / entry.file)
        fsync_path(self._folder)
        entry.status = "damaged" if entry.error else "ok"
        self._manifest.put(entry)

    def _clear(self, key: str) -> None:
        for leftover in self._partial.glob(f"{key}.*"):
            leftover.unlink()

    def _tell(self, entry: Entry, word: str) -> Entry:
        if entry.status in USABLE:
            seconds = f"{entry.duration:.1f} s" if entry.duration is not None else "? s"
            self._plan.say(f"{word:8}{entry.bytes / 1e6:9.1f} MB {seconds:>9}  {entry.file}" + f"  ({entry.error})" * bool(entry.error))
        else:
            self._plan.say(f"{word:8}{entry.url}: {entry.error}")
        return entry


class _Ticker:
    """Says now and then how far a long download is."""

    def __init__(self, name: str):
        self._name, self._last = name, time.monotonic()

    def __call__(self, have: int, total: int | None) -> None:
        if time.monotonic() - self._last >= _PROGRESS_EVERY:
            self._last = time.monotonic()
            print(f"{self._name}: {have / 1e6:.1f}{f' of {total / 1e6:.1f}' if total else ''} MB", file=sys.stderr, flush=True)


def _key(url: str) -> str:
    """What the names of its unfinished files begin with."""
    return sha256(url.encode()).hexdigest()[:16]


def _ending(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _ending_for(url: str, kind: str) -> str:
    """The file's ending: the address's own, or else what the server says it is."""
    ending = _ending(urllib.parse.urlsplit(url).path)
    return ending if ending in VIDEO_ENDINGS else _ENDING_OF.get(kind, ".mp4")
