"""Numbers as text, and rows of text as Markdown."""

import math
import statistics

from metrics.confidence import Interval
from metrics.protocol import Result, Score

ARROWS = {"higher": "↑", "lower": "↓", "near real": "→"}


def number(value: float | None) -> str:
    """Four significant digits, all of them before the point; counts whole. None and NaN: "undefined"."""
    if value is None or value != value:
        return "undefined"
    if math.isinf(value):
        return "infinite"
    if isinstance(value, int):
        return str(value)
    return f"{value:.0f}" if 1e4 <= abs(value) < 1e7 else f"{value:#.4g}".rstrip(".")


def span(interval: Interval | None) -> str:
    """An interval in brackets; nothing where there is none."""
    return f"[{number(interval.low)}, {number(interval.high)}]" if interval else ""


def title(result: Result) -> str:
    """The metric, and the protocol's name where it has one."""
    return f"{result.name} ({result.protocol.name})" if result.protocol.name else result.name


def of_one_crowd(result: Result) -> bool:
    """Whether the real value is that of one crowd of real clips, and not of two compared with each other."""
    return result.floor is not None and result.protocol.floor_clips is None


def spread(result: Result) -> Score | None:
    """Mean and standard deviation of repeated draws; None where there was one draw. The value is the mean, None if one was infinite."""
    if len(result.draws) < 2:
        return None
    if any(value is None or not math.isfinite(value) for value in result.draws):
        return Score(None, {"standard deviation": None})
    return Score(statistics.fmean(result.draws), {"standard deviation": statistics.stdev(result.draws)})


def central(result: Result) -> float | None:
    """The one number to quote: the mean where there were several draws."""
    draws = spread(result)
    return draws.value if draws else result.score.value


def quoted(result: Result) -> str:
    """The one number to quote with how far it may be off: mean ± standard deviation, or value and interval."""
    draws = spread(result)
    if draws and draws.value is not None:
        deviation = draws.parts["standard deviation"]
        return f"{number(draws.value)} ± {number(deviation) if deviation >= 100 else f'{deviation:#.2g}'.rstrip('.')}"
    return f"{number(result.score.value)} {span(result.interval)}".strip()


def real_column(results: list[Result]) -> str:
    """What to call the column of real values: metrics of one crowd compare reals with nothing."""
    return "real" if any(of_one_crowd(result) for result in results) else "real vs real"


def full_rows(results: list[Result]) -> list[list[str]]:
    """All there is to say, the header first: values, their parts, and repeated draws."""
    rows = [["metric", "value", "95% interval", real_column(results), "unit", "better", "of"]]
    for result in results:
        protocol, floor, draws = result.protocol, result.floor, spread(result)
        count = f"{protocol.fake_clips} clips" if protocol.frames_per_clip else f"{protocol.clip_frames} frames"
        rows.append([title(result), number(result.score.value), span(result.interval), number(floor.value) if floor else "",
                     result.unit, result.better, count])
        parts = {name: (value, floor.parts.get(name, "") if floor else "") for name, value in result.score.parts.items()}
        if draws:
            parts |= {f"mean of {len(result.draws)} draws": (draws.value, "")} | {name: (value, "") for name, value in draws.parts.items()}
        for name, (value, real) in parts.items():
            unit = result.unit if isinstance(value, float) else ""
            rows.append([f"- {name}", number(value), "", real if real == "" else number(real), unit, "", ""])
    return rows


def markdown(rows: list[list[str]]) -> str:
    """A Markdown table, header first, aligned so that it reads well on a terminal too."""
    rows = [[" ".join(cell.replace("|", "\\|").split()) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
