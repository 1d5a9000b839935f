"""One file over HTTP or from the disk, in a stream: resumed where it stopped, never beyond its limit.

Resuming follows RFC 9110 (14.2 Range, 13.1.5 If-Range, 15.3.7 and 15.5.17): the rest is only appended if the server confirms that
it is the rest of the same file.
"""

import errno
import http.client
import json
import re
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.cookiejar import CookieJar
from pathlib import Path

from utils.errors import UserError
from utils.files import write_json

_CHUNK = 1 << 16
_SLOWEST = 1000  # bytes per second; a server that sends less is as good as silent
_PROGRESS = 1 << 20  # bytes after which an interrupted transfer counts as one that works
_LONGEST_WAIT = 60.0
_HTML = re.compile(rb"\s*(<!doctype html|<html)", re.IGNORECASE)
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class NotObtained(Exception):
    """A video that could not be had; the message says why. ``status`` is "failed" or, for what the user's limits exclude, "skipped";
    ``keep`` whether what has arrived so far is worth keeping for another try; ``bytes`` a size that was found too large."""

    def __init__(self, reason: str, status: str = "failed", keep: bool = False, bytes: int | None = None):
        super().__init__(reason)
        self.status, self.keep, self.bytes = status, keep, bytes


class WebPage(NotObtained):
    """The address holds a page, not a file."""


class _Again(Exception):
    """Trouble that may pass; ``wait``: seconds the server asked for."""

    def __init__(self, reason: str, wait: float = 0.0):
        super().__init__(reason)
        self.wait = wait


@dataclass
class Limits:
    """``size`` in bytes; ``timeout`` in seconds without 1000 bytes a second; ``retries`` after trouble, the first ``backoff`` seconds
    later and then twice as late each time."""

    size: int
    timeout: float = 30.0
    retries: int = 3
    backoff: float = 1.0


def fetch(url: str, part: Path, limits: Limits, cookies: CookieJar | None = None,
          on_bytes: Callable[[int, int | None], None] = lambda have, total: None) -> str:
    """Bring what ``url`` (http, https or file) holds to ``part``, going on from what lies there. Returns its media type, or "".

    ``on_bytes`` is told how many bytes are there and how many there will be, if that is known. Raises NotObtained, or UserError if the
    disk is full; ``part`` stays then.
    """
    if urllib.parse.urlsplit(url).scheme == "file":
        return _copy(url, part, limits, on_bytes)
    opener = _opener(cookies)
    tries = 0
    while True:
        before = _size(part)
        try:
            return _attempt(opener, url, part, limits, on_bytes)
        except _Again as trouble:
            tries = 1 if _size(part) - before >= _PROGRESS else tries + 1
            if tries > limits.retries:
                raise NotObtained(f"{trouble}, tried {tries} time{'s' * (tries > 1)}", keep=True) from None
            time.sleep(min(_LONGEST_WAIT, max(trouble.wait, limits.backoff * 2 ** (tries - 1))))


def disk_full(error: BaseException | None, folder: Path) -> UserError | None:
    """The complaint to raise if ``error`` says that nothing more can be written to ``folder``."""
    if isinstance(error, OSError) and error.errno in _DISK:
        return UserError(f"{folder}: the disk is full ({error.strerror}); free some space and run the same command again, "
                         "it goes on where it stopped")
    return None


def memo_of(part: Path) -> Path:
    """Where it is noted what ``part`` is a part of."""
    return part.with_suffix(".json")


def _opener(cookies: CookieJar | None) -> urllib.request.OpenerDirector:
    """As urllib's own, but with nothing that opens files or FTP, even after a redirect."""
    opener = urllib.request.OpenerDirector()
    for handler in (urllib.request.ProxyHandler(), urllib.request.HTTPHandler(), urllib.request.HTTPSHandler(),
                    urllib.request.UnknownHandler(), urllib.request.HTTPDefaultErrorHandler(), urllib.request.HTTPRedirectHandler(),
                    urllib.request.HTTPErrorProcessor(), urllib.request.HTTPCookieProcessor(cookies)):
        opener.add_handler(handler)
    return opener


def _attempt(opener, url: str, part: Path, limits: Limits, on_bytes) -> str:
    headers = {"User-Agent": "Mozilla/5.0 (compatible; VidGAN data.download)", "Accept": "*/*", "Accept-Encoding": "identity"}
    have, memo = _size(part), _read_memo(part)
    # Without a validator only the same total length can vouch for the same file.
    if have and memo.get("url") == url and (memo["validator"] or memo["total"]):
        if have == memo["total"]:
            return memo["type"]
        headers["Range"] = f"bytes={have}-"
        if memo["validator"]:
            headers["If-Range"] = memo["validator"]
    else:
        have, memo = 0, {}
    try:
        reply = opener.open(urllib.request.Request(_ascii(url), headers=headers), timeout=limits.timeout)
    except urllib.error.HTTPError as error:
        with error:
            return _refused(error, part, have, memo)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _trouble(error) from None
    with reply:
        start, total = _extent(reply, have, memo, part)
        kind = reply.headers.get_content_type() if reply.headers.get("Content-Type") else ""
        if kind in ("text/html", "application/xhtml+xml"):
            raise WebPage(f"the server sent a web page ({kind}), not a video")
        if total is not None and total > limits.size:
            raise NotObtained(f"too large: {total:,} bytes, the limit is {limits.size:,}", "skipped", bytes=total)
        if not start:
            part.unlink(missing_ok=True)
            tag, date = reply.headers.get("ETag", ""), reply.headers.get("Last-Modified", "")
            # A weak tag promises a file of the same meaning, not of the same bytes.
            write_json(memo_of(part), {"url": url, "validator": tag if tag.startswith('"') else date, "total": total, "type": kind})
        disk = shutil.disk_usage(part.parent)  # some file systems tell nothing
        if total is not None and disk.total and total - start > disk.free:
            raise disk_full(OSError(errno.ENOSPC, f"{total - start:,} bytes do not fit"), part.parent)
        _stream(reply, part, start, total, limits, on_bytes)
    return kind


def _extent(reply, have: int, memo: dict, part: Path) -> tuple[int, int | None]:
    """Where what the server sends begins in the file, and how long the file is if that is known."""
    if reply.status == 200:
        return 0, reply.length
    if reply.status != 206:
        raise NotObtained(f"HTTP {reply.status} {reply.reason}: no video in the answer")
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", reply.headers.get("Content-Range", "").strip())
    total = int(found[3]) if found and found[3] != "*" else memo.get("total")
    if not have or not found or int(found[1]) != have or (memo["total"] is not None and total != memo["total"]):
        part.unlink(missing_ok=True)
        raise _Again("the server did not go on where the file stopped")
    return have, total


def _stream(reply, part: Path, start: int, total: int | None, limits: Limits, on_bytes) -> None:
    have, window, arrived = start, time.monotonic(), 0
    try:
        with open(part, "ab" if start else "wb") as file:
            while True:
                try:
                    chunk = reply.read1(_CHUNK)
                except (OSError, http.client.HTTPException, ValueError) as error:
                    raise _trouble(error) from None
                if not chunk:
                    break
                if not have and _HTML.match(chunk):
                    raise WebPage("the server sent a web page, not a video")
                have += len(chunk)
                if have > limits.size:
                    raise NotObtained(f"too large: more than {limits.size:,} bytes", "skipped", bytes=have)
                file.write(chunk)
                on_bytes(have, total)
                arrived += len(chunk)
                if (now := time.monotonic()) - window > limits.timeout:
                    if arrived < _SLOWEST * limits.timeout:
                        raise _Again(f"the server sends less than {_SLOWEST} bytes per second")
                    window, arrived = now, 0
    except OSError as error:
        raise disk_full(error, part.parent) or error from None
    if total is not None and have < total:
        raise _Again(f"the connection ended after {have:,} of {total:,} bytes")


def _refused(error: urllib.error.HTTPError, part: Path, have: int, memo: dict) -> str:
    if error.code == 416:  # nothing from here on: either all is there, or the file has changed
        found = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", "").strip())
        if have and found and int(found[1]) == have:
            return memo["type"]
        part.unlink(missing_ok=True)
        raise _Again("the server has no more of the file")
    if error.code in (408, 425, 429, 500, 502, 503, 504):
        wait = error.headers.get("Retry-After", "")
        raise _Again(f"HTTP {error.code} {error.reason}", float(wait) if wait.isdecimal() else 0.0)
    raise NotObtained(f"HTTP {error.code} {error.reason}")


def _trouble(error: Exception) -> Exception:
    """What stands behind a failed connection: worth another try, or not."""
    cause = error.reason if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return NotObtained(f"the server's certificate is not valid: {cause.verify_message}")
    if isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME:
        return NotObtained("there is no server of that name")
    if isinstance(cause, (http.client.InvalidURL, UnicodeError)) or type(cause) is ValueError:
        return NotObtained(f"not a usable address: {cause}")
    if isinstance(cause, TimeoutError):
        return _Again("the server does not answer")
    if isinstance(cause, http.client.IncompleteRead):
        return _Again("the connection ended in the middle")
    if isinstance(cause, urllib.error.URLError):
        return NotObtained(f"{cause.reason}")
    return _Again(getattr(cause, "strerror", None) or str(cause) or type(cause).__name__)


def _copy(url: str, part: Path, limits: Limits, on_bytes) -> str:
    place = urllib.parse.urlsplit(url)
    path = Path(urllib.request.url2pathname(place.path))
    try:
        if place.netloc not in ("", "localhost") or not path.is_file():
            raise NotObtained("there is no such file")
        with open(path, "rb") as source:
            total, have = path.stat().st_size, 0
            if total > limits.size:
                raise NotObtained(f"too large: {total:,} bytes, the limit is {limits.size:,}", "skipped", bytes=total)
            with open(part, "wb") as file:
                while chunk := source.read(_CHUNK * 16):
                    file.write(chunk)
                    have += len(chunk)
                    on_bytes(have, total)
    except OSError as error:
        raise disk_full(error, part.parent) or NotObtained(f"cannot be read: {error.strerror}") from None
    return ""


def _ascii(url: str) -> str:
    """Blanks and letters outside ASCII as a browser would send them."""
    place = urllib.parse.urlsplit(url)
    host = place.netloc if place.netloc.isascii() else place.netloc.encode("idna").decode()
    path, query = (urllib.parse.quote(text, safe="%/:=&?~#+!$,;'@()*[]") for text in (place.path, place.query))
    return urllib.parse.urlunsplit((place.scheme, host, path, query, ""))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _read_memo(part: Path) -> dict:
    try:
        memo = json.loads(memo_of(part).read_text(encoding="utf-8"))
        return memo if {"url", "validator", "total", "type"} <= memo.keys() else {}
    except (OSError, ValueError, AttributeError):
        return {}
