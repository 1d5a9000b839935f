"""A film plays in a real browser: headless Chromium loads it, seeks, and shows the colours that were written."""

import json
import shutil
import signal
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from utils.video import write_video

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--autoplay-policy=no-user-gesture-required"]
FPS, COUNT, HEIGHT, WIDTH = 24, 30, 90, 121
PAGE = """<!doctype html><video id="film" src="film.mp4" muted preload="auto"></video><script>
const film = document.getElementById("film");
const send = data => fetch("report", {method: "POST", body: JSON.stringify(data)});
film.onerror = () => send({error: film.error.code + " " + film.error.message});

function quarters() {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [film.videoWidth, film.videoHeight];
  const pen = canvas.getContext("2d");
  pen.drawImage(film, 0, 0);
  const means = [];
  for (const y of [0.1, 0.6]) for (const x of [0.1, 0.6]) {
    const part = pen.getImageData(x * canvas.width, y * canvas.height, 0.3 * canvas.width, 0.3 * canvas.height).data;
    const sums = [0, 0, 0];
    for (let i = 0; i < part.length; i += 4) for (let c = 0; c < 3; c++) sums[c] += part[i + c];
    means.push(sums.map(sum => 4 * sum / part.length));
  }
  return means;
}

// `seeked` says that the new frame is decoded; on a busy machine the old one may still be shown. So the frame itself is
// waited for, which needs every seek to go to another frame than the one shown.
function seek(index) {
  return new Promise(done => {
    const shown = (_, {mediaTime}) => {
      if (Math.abs(mediaTime * FPS - index) < 0.5) done(quarters());
      else film.requestVideoFrameCallback(shown);
    };
    film.requestVideoFrameCallback(shown);
    film.currentTime = (index + 0.5) / FPS;
  });
}

film.onloadeddata = async () => {
  const report = {readyState: film.readyState, duration: film.duration, frames: {}};
  [report.width, report.height] = [film.videoWidth, film.videoHeight];
  for (const index of [13, 29, 0]) report.frames[index] = await seek(index);
  film.currentTime = 0;
  film.onended = () => send({...report, played: film.played.end(film.played.length - 1)});
  film.play();
};
</script>""".replace("FPS", str(FPS))


def frame(index: int) -> np.ndarray:
    """Four quarters of plain colour, another four in every frame."""
    colours = np.random.default_rng(index).integers(20, 236, (2, 2, 3), dtype=np.uint8)
    return colours.repeat((HEIGHT + 1) // 2, axis=0)[:HEIGHT].repeat((WIDTH + 1) // 2, axis=1)[:, :WIDTH]


def serve(film: bytes):
    """A web server for the page and the film (with byte ranges, which seeking needs), an event, the page's report."""
    reported, report = threading.Event(), {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/":
                return self.answer(200, PAGE.encode(), "text/html")
            if self.path != "/film.mp4":
                return self.answer(404, b"", "text/plain")
            first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
            first, last = int(first), int(last or len(film) - 1)
            self.answer(206, film[first:last + 1], "video/mp4", f"bytes {first}-{last}/{len(film)}")

        def do_POST(self):
            report.update(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.answer(200, b"", "text/plain")
            reported.set()

        def answer(self, status, body, kind, content_range=None):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Accept-Ranges", "bytes")
            if content_range:
                self.send_header("Content-Range", content_range)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, reported, report


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_chromium_plays_the_film(tmp_path):
    assert write_video(tmp_path / "film.mp4", map(frame, range(COUNT)), FPS) == COUNT
    server, reported, report = serve((tmp_path / "film.mp4").read_bytes())
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", f"http://127.0.0.1:{server.server_port}/"]
    browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert reported.wait(60), "the page did not report: the film did not load or did not play to its end"
    finally:
        browser.send_signal(signal.SIGTERM)
        browser.wait(20)
        server.shutdown()
        server.server_close()
    assert "error" not in report, report
    assert report["readyState"] >= 2
    assert (report["width"], report["height"]) == (WIDTH + 1, HEIGHT)
    assert report["duration"] == pytest.approx(COUNT / FPS, abs=0.002)
    assert report["played"] == pytest.approx(COUNT / FPS, abs=0.05)
    for index in (13, 29, 0):
        written = frame(index)[[HEIGHT // 4, HEIGHT * 3 // 4]][:, [WIDTH // 4, WIDTH * 3 // 4]].reshape(4, 3)
        difference = np.abs(np.array(report["frames"][str(index)]) - written).max(axis=0)
        # Chromium without a GPU converts by libyuv, whose 8-bit factor for blue is 2.0 where BT.709 has 2.11: up to
        # 12 levels off in saturated blue or yellow. The wrong matrix or range would show in red and green.
        assert (difference <= [4, 4, 14]).all(), f"frame {index} is off by {difference}"
