"""The report is one page that needs nothing beside it; the curves go to TensorBoard too."""

import base64
import html
import re
import shutil
import subprocess
from html.parser import HTMLParser
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from tests.training.runner import rows
from training import report


@pytest.fixture(scope="module")
def run(runner, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "run"
    runner.train("--out", out, "--precision", "fp32", "--steps", 60, "--sample_every", "5", "--tensorboard", "true", "--log_every", "2")
    return out


class _Page(HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.sources, self.links, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name == "src":
                self.sources.append((tag, value))
            if name in ("href", "srcset", "data", "action"):
                self.links.append(value)

    def handle_data(self, data):
        self.text += data


def embedded(page: _Page, kind: str) -> list[bytes]:
    return [base64.b64decode(value.partition(",")[2], validate=True) for _, value in page.sources
            if value.startswith(f"data:{kind};base64,")]


def test_the_page_needs_nothing_else(run):
    text = (run / "report.html").read_text()
    page = _Page(text)
    assert page.sources and all(value.startswith("data:") for _, value in page.sources) and not page.links
    assert not re.search(r"https?://|file:|url\(|@import|<script|<link", re.sub(r'src="data:[^"]*"', "", text))
    pictures = embedded(page, "image/png")
    for path in (run / "losses.png", run / "reals.png", run / "samples" / "step_000060.png", run / "samples" / "step_000005.png"):
        assert path.read_bytes() in pictures, path.name
    assert embedded(page, "video/mp4") == [(run / "samples" / "step_000060.mp4").read_bytes()]
    for picture in pictures:
        assert cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR) is not None


def test_the_page_tells_numbers_settings_and_videos(run):
    page = _Page((run / "report.html").read_text())
    last = rows(run)[-1]
    for value in (last["d/loss"], last["g/loss"], last["d/grad_norm"]):
        assert f"{value:.4g}" in page.text
    assert "step 60 of 60" in page.text and "No alarm so far" in page.text
    for line in (run / "config.yaml").read_text().splitlines():
        assert line in page.text
    assert "horizontal_disc" in page.text
    assert "a walk around each latent" in page.text


@pytest.mark.parametrize("latent_dim, frames, film, still", [
    (0, 5, "made of fixed real clips", "made of fixed real clips, their first frames"),
    (9, 5, "clips of fixed latents", "clips of fixed latents, their first frames"), (9, 1, "a walk around each latent", "fixed latents")])
def test_captions_say_what_is_shown(latent_dim, frames, film, still):
    setup = SimpleNamespace(task=SimpleNamespace(latent_dim=latent_dim), dataset=SimpleNamespace(frames=frames))
    assert (report._shows(setup), report._shows(setup, still=True)) == (film, still)


def test_words_of_the_user_do_not_become_markup(runner, tmp_path):
    out = tmp_path / "a<b>&c"
    runner.train("--out", out, "--precision", "fp32", "--steps", 2)
    text = (out / "report.html").read_text()
    assert "<b>&c" not in text and html.escape("a<b>&c") in text


def test_samples_stand_in_the_order_of_steps(tmp_path):
    for step in (999_500, 1_000_000, 2_500):
        (tmp_path / "samples").mkdir(exist_ok=True)
        (tmp_path / "samples" / f"step_{step:06d}.png").touch()
    assert [path.stem for path in report._by_step(tmp_path, "png")] == ["step_002500", "step_999500", "step_1000000"]


def test_curves(run):
    picture = cv2.imread(str(run / "losses.png"))
    height, width, _ = picture.shape
    assert width > 2 * height > 400
    # Something is drawn in colour: grey ink has equal channels.
    coloured = (np.ptp(picture.astype(int), axis=2) > 40).mean()
    assert 0.002 < coloured < 0.2


def test_tensorboard_reads_the_events(run):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulators.EventAccumulator(str(run), size_guidance={accumulators.SCALARS: 0, accumulators.IMAGES: 0})
    events.Reload()
    told = {row["step"]: row for row in rows(run)}
    assert {"d/loss", "g/loss", "d/grad_norm", "clips_per_second"} <= set(events.Tags()["scalars"])
    for name in ("d/loss", "g/loss"):
        assert [(event.step, event.value) for event in events.Scalars(name)] == [(step, pytest.approx(row[name], rel=1e-6))
                                                                                 for step, row in told.items()]
    shown = events.Images("samples")
    assert [event.step for event in shown] == list(range(5, 65, 5))
    assert np.array_equal(cv2.imdecode(np.frombuffer(shown[-1].encoded_image_string, np.uint8), 1),
                          cv2.imread(str(run / "samples/step_000060.png")))


def test_a_browser_shows_the_page(run, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("no chromium to open the page with")
    shot = tmp_path / "page.png"
    subprocess.run([browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1200,2600",
                    f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={shot}", (run / "report.html").as_uri()],
                   check=True, timeout=90, capture_output=True)
    picture = cv2.imread(str(shot))
    assert picture.shape == (2600, 1200, 3)
    # The newest samples stand on it, in their own colours: the page is mostly white, the pictures are not.
    assert (picture.min(2) < 200).mean() > 0.02
