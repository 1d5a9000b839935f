"""The health of a folder of videos: ``python -m data.scan videos/ [--json] [--quick] [--frames N --frame_skip K]``."""

import argparse
import json
import sys
from dataclasses import asdict

import av

from data.cache import cache_folder, content_keys
from data.health import Health, HealthReport
from data.layouts import Layout, find_sources
from data.pool import Failure, WorkerPool
from data.probe import ProbeTask, probe
from data.synthetic import is_synthetic
from utils.errors import EXIT_USER_ERROR, UserError, script
from utils.files import write_text
from utils.progress import Progress

_PROBE_FORMAT = 8  # raise it when a probe comes to see other things


def scan(layout: Layout, pool: WorkerPool, *, folder=None, quick: bool = False, image_fps: float = 25.0,
         quiet: bool = False) -> HealthReport:
    """Examine every video of ``layout``. ``quick`` reads packets without decoding them, and so misses damaged pictures.

    Results are remembered by content in the cache ``folder``, if one is given.
    """
    sources = layout.sources
    identities = content_keys(sources, folder, quiet)
    healths: list[Health | None] = [None] * len(sources)
    paths = [_memo(folder, content, source.kind, quick, image_fps) for source, (content, _) in zip(sources, identities)]
    for index, (source, path) in enumerate(zip(sources, paths)):
        healths[index] = _recall(path, source.name)
    todo = [index for index, health in enumerate(healths) if health is None]
    if todo:
        tasks = [ProbeTask(str(sources[index].path), sources[index].kind, sources[index].name, *identities[index], quick, image_fps)
                 for index in todo]

        def take(task: int, result: Health | Failure) -> None:
            """Each at once: a scan of hours that is cut short goes on from there."""
            index = todo[task]
            if isinstance(result, Failure):  # not remembered: a machine short of memory kills decoders too
                name, (content, size) = sources[index].name, identities[index]
                healths[index] = Health(name, sources[index].kind, content=content, size=size).fail("broken", result.reason)
            else:
                healths[index] = result
                if paths[index] is not None and identities[index][0] and not result.passing:
                    write_text(paths[index], json.dumps(asdict(result)))
            progress.update()

        with Progress(len(tasks), "scanning", "videos", quiet=quiet) as progress:
            pool.map(probe, tasks, on_done=take)
    report = HealthReport(healths, list(layout.notes))
    report.mark_duplicates()
    return report


def _memo(folder, content: str, kind: str, quick: bool, image_fps: float):
    if folder is None:
        return None
    rate = "" if kind == "video" else f"-{image_fps:g}"
    return folder / "health" / f"{content}-{kind}-{'quick' if quick else 'full'}{rate}-{_PROBE_FORMAT}-{av.__version__}.json"


def _recall(path, name: str) -> Health | None:
    try:
        return Health(**{**json.loads(path.read_text(encoding="utf-8")), "path": name}) if path is not None else None
    except (OSError, ValueError, TypeError):
        return None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        print(f"error: {message}; see python -m data.scan --help", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)


def main(arguments: list[str] | None = None) -> int:
    parser = _Parser(prog="python -m data.scan", description="Report the health of videos: broken, empty, truncated, too short, "
                     "variable rate, rotated, duplicate, headers that lie.")
    parser.add_argument("data", help="a folder of videos, or anything else --data accepts")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--quick", action="store_true", help="do not decode: quicker, misses damaged pictures")
    parser.add_argument("--frames", type=int, default=1, help="frames of a clip: shorter videos are reported")
    parser.add_argument("--frame_skip", "--frame-skip", type=int, default=1, help="keep every k-th frame: a clip spans (frames-1)*k+1")
    parser.add_argument("--workers", type=int, default=None, help="processes (default: one per processor)")
    parser.add_argument("--cache_dir", "--cache-dir", default=None, help="where results are remembered")
    options = parser.parse_args(arguments)
    for flag in ("frames", "frame_skip", "workers"):
        if getattr(options, flag) is not None and getattr(options, flag) < 1:
            raise UserError(f"--{flag} {getattr(options, flag)}: must be at least 1")
    if is_synthetic(options.data):
        raise UserError(f"{options.data}: synthetic videos are made, not read; there is nothing to scan")
    layout = find_sources(options.data, split="all")
    with WorkerPool(options.workers) as pool:
        report = scan(layout, pool, folder=cache_folder(options.cache_dir), quick=options.quick)
    report.mark_short((options.frames - 1) * options.frame_skip + 1)
    print(json.dumps(report.as_dict(), indent=2) if options.json else report.table())
    return 0


if __name__ == "__main__":
    script(main)
