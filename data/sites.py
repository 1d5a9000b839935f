"""Videos from the pages that show them, by yt-dlp or pytube; both are imported only when they are needed."""

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from data.fetch import Limits, NotObtained, disk_full
from data.layouts import IMAGE_ENDINGS, VIDEO_ENDINGS
from utils.errors import UserError

_SOUND_ENDINGS = {".mp3", ".m4a", ".m4b", ".aac", ".oga", ".ogg", ".opus", ".wav", ".flac", ".wma", ".weba", ".mka", ".aiff", ".ac3"}
_NESTED = 6  # addresses that lead to addresses
PYTUBE_WARNING = ("pytube has not been maintained since May 2023, and YouTube has answered it with HTTP 400 or 403 since 2024: "
                  "expect failures; the default, --backend yt-dlp, is kept up to date")
BLOCKED = ("sites refuse programs that ask too often or too much: wait, or pass your browser's cookies with --cookies; "
           "for YouTube yt-dlp wants its newest version and Deno: pip install -U 'yt-dlp[default]', https://deno.com")


@dataclass
class Wish:
    """A video that somebody wants, not looked at yet. ``hint`` is what the list that names it knows about it."""

    url: str
    playlist: str | None = None
    hint: dict | None = field(default=None, repr=False)


@dataclass
class About:
    """What a site says about a video; None where it says nothing."""

    id: str | None = None
    title: str | None = None
    author: str | None = None
    licence: str | None = None
    site: str | None = None
    duration: float | None = None


class YtDlp:
    """The `yt-dlp <https://github.com/yt-dlp/yt-dlp>`_ Python API. One object for a whole run: sites see one visitor."""

    def __init__(self, max_height: int, limits: Limits, cookies: str | None):
        """``cookies`` is the text of a Netscape cookies file. Raises UserError if yt-dlp is not installed."""
        try:
            import yt_dlp
        except ImportError:
            raise UserError("web pages need yt-dlp, which is not installed: pip install yt-dlp (addresses of video files do not)") from None
        self.version = f"yt-dlp {yt_dlp.version.__version__}"
        self._log, self._refusal, self._on_bytes = _Log(), None, lambda have, total: None
        self._max_bytes, self._max_duration = limits.size, float("inf")
        self._ydl = yt_dlp.YoutubeDL({
            "format": f"bv*[height<={max_height}][ext=mp4]/b[height<={max_height}]/bv*[height<={max_height}]/b/bv*",
            # Where all are larger, the smallest; among equals H.264, which every OpenCV decodes.
            "format_sort": [f"res:{max_height}", "vcodec:h264"], "quiet": True, "noprogress": True, "color": "no_color",
            "logger": self._log, "match_filter": self._judge, "progress_hooks": [self._count], "continuedl": True, "overwrites": True,
            "retries": limits.retries, "fragment_retries": limits.retries, "extractor_retries": limits.retries,
            "retry_sleep_functions": {kind: lambda n: min(60.0, limits.backoff * 2 ** n) for kind in ("http", "fragment", "extractor")},
            "skip_unavailable_fragments": False, "socket_timeout": limits.timeout, "fixup": "never", "updatetime": False,
            "cachedir": False, "js_runtimes": {name: {} for name in ("deno", "node", "quickjs", "bun")},
            # As text, not as a path: yt-dlp would write the user's file anew.
            "cookiefile": io.StringIO(cookies) if cookies is not None else None,
        })

    def open(self, wish: Wish) -> "Iterator[Wish] | dict":
        """What is behind an address: the wishes of a playlist, or one video to hand to :meth:`download`. Raises NotObtained."""
        found = wish.hint or {"_type": "url", "url": wish.url}
        known = {}
        for _ in range(_NESTED):
            kind = found.get("_type", "video")
            if kind in ("playlist", "multi_video"):
                return self._wishes(found, wish.url)
            if kind == "video":
                return {**found, **known}
            if kind == "url_transparent":  # who links knows better than who is linked to
                known = {name: found[name] for name in ("title", "uploader", "license") if found.get(name)} | known
            with self._guarded():
                found = self._ydl.extract_info(found["url"], ie_key=found.get("ie_key"), download=False, process=False) or {}
            if not found:
                raise NotObtained("nothing is there")
        raise NotObtained("leads from page to page without end")

    def _wishes(self, playlist: dict, url: str) -> Iterator[Wish]:
        entries, number, end = iter(playlist.get("entries") or []), 0, object()
        while True:
            with self._guarded():
                entry = next(entries, end)
            if entry is end:
                return
            number += 1
            linked = entry and entry.get("_type") in ("url", "url_transparent")
            if entry and (not linked or entry.get("url")):  # else it has been deleted
                yield Wish(entry["url"] if linked else f"{url}#{entry.get('id') or number}", url, entry)

    def download(self, video: dict, part: Path, max_bytes: int, max_duration: float,
                 on_bytes: Callable[[int, int | None], None]) -> tuple[Path, About]:
        """Download to a file whose name begins as ``part``'s; goes on where an earlier try of the same format stopped.

        Raises NotObtained, or UserError if the disk is full.
        """
        # yt-dlp goes on with whatever file has the name: another format or a newer upload has to have another one.
        version = ".%(format_id)s-%(filesize|0)s-%(timestamp|0)s.%(ext)s"
        self._ydl.params["outtmpl"]["default"] = str(part.with_suffix("")).replace("%", "%%") + version
        self._refusal, self._on_bytes, self._max_bytes, self._max_duration = None, on_bytes, max_bytes, max_duration
        with self._guarded(part.parent):
            info = self._ydl.process_ie_result(_with_known_ending(video), download=True) or {}
        about = About(info.get("id"), info.get("title"), info.get("uploader"), info.get("license"),
                      info.get("extractor_key") or info.get("extractor"), info.get("duration"))
        if self._refusal is not None:
            raise self._refusal
        files = [Path(item["filepath"]) for item in info.get("requested_downloads") or [] if item.get("filepath")]
        if not files or not files[0].is_file():
            raise NotObtained(f"yt-dlp brought no file: {self._log.last or 'it does not say why'}")
        return files[0], about

    def _judge(self, info: dict, incomplete: bool = False) -> str | None:
        """yt-dlp asks before it downloads; an answer is the reason not to."""
        size = info.get("filesize")
        if info.get("is_live"):
            self._refusal = NotObtained("a live stream, which has no end", "skipped")
        elif (info.get("duration") or 0) > self._max_duration:
            self._refusal = TooLong(info["duration"], self._max_duration)
        elif size and size > self._max_bytes:
            self._refusal = NotObtained(f"too large: {size:,} bytes, the limit is {self._max_bytes:,}", "skipped", bytes=size)
        return str(self._refusal) if self._refusal else None

    def _count(self, state: dict) -> None:
        have, total = state.get("downloaded_bytes") or 0, state.get("total_bytes")
        if max(have, total or 0) > self._max_bytes:
            reason = f"too large: {total:,} bytes, the limit is" if total else "too large: more than"
            raise NotObtained(f"{reason} {self._max_bytes:,}" + " bytes" * (not total), "skipped", bytes=max(have, total or 0))
        self._on_bytes(have, total)

    def _guarded(self, folder: Path | None = None) -> "_Guard":
        self._log.last = ""
        return _Guard(folder)


def _with_known_ending(video: dict) -> dict:
    """A copy in which a file that its server calls .php, or nothing, is .mp4: decoders go by what a file holds, but videos are looked for
    by their endings. Sound and pictures keep theirs, so that they are not."""
    def named(item: dict) -> dict:
        ending = f".{item['ext']}".lower() if item.get("ext") else ".mp4"
        known = ending in VIDEO_ENDINGS | IMAGE_ENDINGS | _SOUND_ENDINGS or item.get("vcodec") == "none"
        return dict(item) if known else {**item, "ext": "mp4"}
    return {**named(video), **({"formats": [named(item) for item in video["formats"]]} if video.get("formats") else {})}


class TooLong(NotObtained):
    """Longer than the user's limit; ``duration`` in seconds."""

    def __init__(self, duration: float, limit: float):
        super().__init__(f"too long: {duration:.0f} s, the limit is {limit:g} s", "skipped")
        self.duration = duration


class _Guard:
    """What goes wrong inside a site's code is the end of one video, never of all. That code changes too often to know its errors."""

    def __init__(self, folder: Path | None):
        self._folder = folder

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if not isinstance(error, Exception) or isinstance(error, (NotObtained, UserError)):
            return False
        causes, known = [error], set()
        while causes:
            cause = causes.pop()
            if id(cause) in known or not isinstance(cause, BaseException):
                continue
            if self._folder is not None and (full := disk_full(cause, self._folder)):
                raise full from None
            known.add(id(cause))
            causes += [cause.__cause__, cause.__context__, *(getattr(cause, "exc_info", None) or ())]
        raise NotObtained(_plain(error), keep=True) from None


def _plain(error: Exception) -> str:
    """An error of a site's code as one line without the advice to report it."""
    text = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split()).removeprefix("ERROR: ")
    text = re.split(r"; please report this issue|\. You might want to use| \(caused by ", text)[0]
    return text[:300] or type(error).__name__


class _Log:
    """Takes what yt-dlp would print."""

    last = ""

    def debug(self, line: str) -> None:
        if not line.startswith("[debug]"):
            self.last = line.strip() or self.last

    info = warning = debug

    def error(self, line: str) -> None:
        self.last = line


class Pytube:
    """`pytube <https://github.com/pytube/pytube>`_ finds the address of a stream, and ours fetches it."""

    version = "pytube"

    def __init__(self, max_height: int):
        """Raises UserError if pytube is not installed."""
        try:
            import pytube
        except ImportError:
            raise UserError("--backend pytube: pytube is not installed: pip install pytube, or use the default, --backend yt-dlp") from None
        self._pytube, self._max_height = pytube, max_height

    def open(self, wish: Wish) -> "Iterator[Wish] | str":
        """As :meth:`YtDlp.open`; a video is its address."""
        if wish.playlist is None and urlsplit(wish.url).path.rstrip("/").endswith("/playlist"):
            return self._wishes(wish.url)
        return wish.url

    def _wishes(self, url: str) -> Iterator[Wish]:
        with _Guard(None):
            for address in self._pytube.Playlist(url).video_urls:
                yield Wish(address, url)

    def find(self, url: str) -> tuple[str, About]:
        """The address of the largest MP4 stream within the height, and what is known of the video. Raises NotObtained."""
        with _Guard(None):
            video = self._pytube.YouTube(url)
            heights = [(int(str(stream.resolution).removesuffix("p")), stream) for stream in video.streams.filter(file_extension="mp4")
                       if re.fullmatch(r"\d+p", str(stream.resolution))]
            if not heights:
                raise NotObtained("pytube finds no MP4 stream")
            small = [item for item in heights if item[0] <= self._max_height]
            height = max(item[0] for item in small) if small else min(item[0] for item in heights)
            stream = next(stream for tall, stream in heights if tall == height)
            return stream.url, About(video.video_id, video.title, video.author, None, "Youtube", float(video.length))
