"""``report.html``: one self-contained page that tells what a run was, how it went and what it makes."""

import base64
import html
from pathlib import Path

import yaml

from configs.schema import TrainConfig
from training import checkpoint
from training.log import of_reals, read_rows
from training.setup import Setup
from utils.files import write_text

MOST_PICTURES = 8
# What the names of metrics.jsonl mean, for the table of numbers.
MEANINGS = {"step": "training steps done", "d/loss": "discriminator's loss", "g/loss": "generator's loss",
            "d/adversarial": "the adversarial part of it", "d/gp": "wgan_gp's gradient penalty",
            "d/real": "mean logit of real clips", "d/fake": "mean logit of generated clips",
            "d/spread": "standard deviation of all logits", "d/accuracy": "share of clips classified correctly; 0.5 is guessing",
            "d/r1": "mean squared gradient norm at real clips", "d/r2": "the same at generated clips",
            "d/class_ce": "cross-entropy of the classes of real clips", "g/class_ce": "the same of generated clips",
            "g/mask": "mean of the foreground mask", "g/pixel_mse": "mean squared error against real clips",
            "g/first_frame_l1": "mean absolute difference to the frame a clip is made from",
            "g/diversity": "what generated pairs lack of the distance of real ones",
            "d/grad_norm": "discriminator's gradient norm", "g/grad_norm": "generator's gradient norm",
            "ae/loss": "autoencoder's loss", "flow/loss": "interpolator's loss", "ae/decibel": "PSNR of frames from their codes, dB",
            "flow/decibel": "PSNR of interpolated frames, dB", "flow/repeats": "how badly held frames are told",
            "seconds": "since this process began training", "data_wait": "share of the time spent waiting for clips",
            "clips_per_second": "batch_size times steps per second", "diversity": "how much samples differ; real clips are 1",
            "distance": "how far samples are from real clips; 0 is alike"}

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #222; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; } td, th { padding: .15rem .8rem .15rem 0; text-align: left; vertical-align: top; }
td:not(:first-child) { font-variant-numeric: tabular-nums; }
pre { background: #f6f6f6; padding: .8rem; overflow: auto; font-size: 13px; columns: 3; }
figure { display: inline-block; margin: 0 1rem 1rem 0; width: 31%; vertical-align: top; }
/* Small frames are enlarged without blurring: what the generator made is what is seen. */
img, video { width: 100%; image-rendering: pixelated; } figure.small { width: 22%; } figure.wide { width: 100%; margin-right: 0; }
figure.wide img { image-rendering: auto; } figcaption { color: #666; font-size: 13px; }
@media (max-width: 640px) { figure, figure.small { width: 100%; } pre { columns: 1; } }
.alarm { background: #fdecea; border-left: 4px solid #c0392b; padding: .4rem .8rem; margin: .4rem 0; }
.good { background: #eaf6ec; border-left: 4px solid #2e8b57; padding: .4rem .8rem; }
"""


def write_report(run: Path, config: TrainConfig, setup: Setup, alarms: list[dict]) -> None:
    """Write ``run/report.html`` from what the run directory holds; pictures and the newest film are embedded."""
    rows = read_rows(run / "metrics.jsonl")
    last = rows[-1] if rows else {"step": 0}
    title = f"{run.name}: {config.family}, {config.height}x{config.width}, step {last['step']} of {setup.steps}"
    parts = [f"<h1>{html.escape(title)}</h1>", _alarms(alarms), "<h2>Samples</h2>", _newest(run, setup), "<h2>Curves</h2>",
             _picture(run / "losses.png", "", "wide"), _evaluations(run, config), "<h2>How the samples came about</h2>", _evolution(run),
             "<h2>Numbers</h2>", _numbers(last, setup), "<h2>Videos</h2>", _health(setup),
             "<h2>Settings</h2>", f"<pre>{html.escape(yaml.safe_dump(config.as_dict(), sort_keys=False))}</pre>"]
    write_text(run / "report.html", f"<!doctype html><html lang=en><meta charset=utf-8>"
               f"<meta name=viewport content='width=device-width'><title>{html.escape(title)}</title>"
               f"<style>{_STYLE}</style><body>{''.join(parts)}</body></html>\n")


def _alarms(alarms: list[dict]) -> str:
    if not alarms:
        return '<p class="good">No alarm so far.</p>'
    return "".join(f'<p class="alarm"><b>{html.escape(alarm["kind"])}</b> at step {alarm["step"]}: '
                   f'{html.escape(alarm["message"])}</p>' for alarm in alarms)


def _by_step(run: Path, ending: str) -> list[Path]:
    """Samples in order: beyond a million steps that of their names is another."""
    number = lambda path: path.stem.removeprefix("step_")
    found = [path for path in (run / "samples").glob(f"step_*.{ending}") if number(path).isdecimal()]
    return sorted(found, key=lambda path: int(number(path)))


def _shows(setup: Setup, still: bool = False) -> str:
    """What samples are, as :func:`training.samples.write_samples` makes them."""
    if not setup.task.latent_dim:
        return "made of fixed real clips" + ", their first frames" * still
    if setup.dataset.frames > 1:
        return "clips of fixed latents" + ", their first frames" * still
    return "fixed latents" if still else "a walk around each latent"


def _newest(run: Path, setup: Setup) -> str:
    films, pictures = _by_step(run, "mp4"), _by_step(run, "png")
    film = f'<figure><video controls autoplay loop muted playsinline src="{_embed(films[-1], "video/mp4")}"></video>' \
           f'<figcaption>{films[-1].stem}: {_shows(setup)}</figcaption></figure>' if films else ""
    newest = _picture(pictures[-1], f"{pictures[-1].stem}: {_shows(setup, still=True)}") if pictures else ""
    return film + newest + _picture(run / "reals.png", "real frames")


def _evolution(run: Path) -> str:
    pictures = _by_step(run, "png")
    if len(pictures) > MOST_PICTURES:
        pictures = [pictures[round(i * (len(pictures) - 1) / (MOST_PICTURES - 1))] for i in range(MOST_PICTURES)]
    return "".join(_picture(path, path.stem, "small") for path in pictures)


def _evaluations(run: Path, config: TrainConfig) -> str:
    """Curves of what evaluations found, the last numbers, and which checkpoint is the best."""
    rows = read_rows(run / "evaluations.jsonl")
    if not rows:
        return ""
    last, best, by = rows[-1], checkpoint.named(run / "checkpoints", "best"), config.metric_names()[0]
    number = lambda value: "undefined" if value is None else f"{value:.4g}"
    floors = {name: f" ({of_reals(last, name)} {number(value)})" for name, value in last["floors"].items()}
    values = {f"{name}, step {last['step']} ({way} is better)": number(last[name]) + floors.get(name, "")
              for name, way in last["better"].items()}
    told = ""
    if best:
        value = next((f", {number(row[by])}" for row in rows if row["checkpoint"] == best.name and by in row), "")
        told = f'<p class="good">Best by {html.escape(by)}: step {checkpoint.order(best)[1]}{value}. It is kept as checkpoints/best.</p>'
    return f'<h2>Evaluations</h2>{told}{_picture(run / "evaluations.png", "", "wide")}{_table(values)}'


def _numbers(row: dict, setup: Setup) -> str:
    sizes = {f"parameters, {name}": f"{sum(p.numel() for p in net.parameters()):,}" for name, net in setup.task.nets.items()}
    values = {f"{name} ({MEANINGS[name]})" if name in MEANINGS else name: f"{value:.4g}" if isinstance(value, float) else str(value)
              for name, value in row.items()}
    arithmetic = {"device": str(setup.device), "arithmetic": str(setup.dtype).removeprefix("torch.")}
    return _table({**sizes, **arithmetic, **values})


def _health(setup: Setup) -> str:
    data = setup.dataset
    numbers = {"frames": f"{data.num_frames:,}", "clips": f"{len(data):,}", "frames per second": f"{data.fps:g}",
               "classes": ", ".join(data.classes)}
    return _table(numbers) + f"<pre style='columns:1'>{html.escape(data.report.table())}</pre>"


def _table(values: dict[str, str]) -> str:
    cells = "".join(f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>" for name, value in values.items())
    return f"<table>{cells}</table>"


def _picture(path: Path, caption: str, kind: str = "") -> str:
    if not path.exists():
        return ""
    return f'<figure class="{kind}"><img alt="{html.escape(caption)}" src="{_embed(path, "image/png")}">' \
           f"<figcaption>{html.escape(caption)}</figcaption></figure>"


def _embed(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
