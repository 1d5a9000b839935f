"""A web server in a thread whose pages misbehave as they are told."""

import re
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Page:
    """What a path answers. ``cuts``: for each request in turn, after how many bytes the connection is cut."""

    body: bytes = b""
    type: str = "video/mp4"
    status: int = 200
    headers: dict = field(default_factory=dict)
    etag: str | None = '"v1"'
    ranges: bool = True
    length: int | None = None
    chunked: bool = False
    endless: bool = False
    cuts: list[int] = field(default_factory=list)
    first: list[int] = field(default_factory=list)
    """Statuses of the first requests."""
    pause: float = 0.0
    """Seconds before each 256 bytes."""


class Web:
    def __init__(self, url: str):
        self.url, self.pages, self.asked = url, {}, []

    def put(self, path: str, body: bytes = b"", **options) -> str:
        self.pages[path] = Page(body, **options)
        return self.url + path

    def ranges(self, path: str) -> list[str | None]:
        """The Range headers of all requests for ``path``."""
        return [headers.get("Range") for asked, headers in self.asked if asked == path]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET(head=True)

    def do_GET(self, head: bool = False):
        path = self.path.split("?")[0]
        if not head:
            self.server.web.asked.append((path, dict(self.headers)))
        page = self.server.web.pages.get(path)
        self.close_connection = True
        status = 404 if page is None else page.first.pop(0) if page.first and not head else page.status
        if status not in (200, 206):
            self._head(status, {**(page.headers if page else {}), "Content-Length": "0"})
            return
        start, total = 0, len(page.body)
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if page.ranges and asked and self.headers.get("If-Range", page.etag) == page.etag:
            start = int(asked[1])
            if start >= total:
                self._head(416, {"Content-Range": f"bytes */{total}", "Content-Length": "0"})
                return
            status = 206
        length = {} if page.endless else {"Transfer-Encoding": "chunked"} if page.chunked else \
            {"Content-Length": str(total - start if page.length is None else page.length)}
        tag = {"ETag": page.etag} if page.etag else {}
        where = {"Content-Range": f"bytes {start}-{total - 1}/{total}"} if status == 206 else {}
        self._head(status, {"Content-Type": page.type, **length, **tag, **where, **page.headers})
        if not head:
            self._body(page, start)

    def _head(self, status: int, headers: dict) -> None:
        self.send_response(status)
        for name, value in {"Connection": "close", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _body(self, page: Page, start: int) -> None:
        end = start + page.cuts.pop(0) if page.cuts else None
        try:
            while page.endless:
                self.wfile.write(page.body)
            for place in range(start, len(page.body), 256) if page.pause else [start]:
                time.sleep(page.pause)
                piece = page.body[place:min(place + 256, end or place + 256) if page.pause else end]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if page.chunked else piece)
            if page.chunked and end is None:
                self.wfile.write(b"0\r\n\r\n")
        except OSError:
            pass  # the other side had enough


@contextmanager
def web():
    """Yields a :class:`Web` on a port of its own."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads, server.block_on_close = True, False
    server.web = Web(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.web
    finally:
        server.shutdown()
        server.server_close()
