"""Charts that go with numbers: bars, curves over frame numbers, heat maps."""

import math
from io import BytesIO

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure

INK = "#333333"
_SOFT = "#6b7682"
_COLORS = {"real": "#6b7682", "fake": "#2f6fc0"}
_UNKNOWN = "#e3e6ea"
_MOST = 10_000  # of a heat map: where chance gives one value only, any other is infinitely far from it


def bars(title: str, unit: str, groups: dict[str, dict[str, float]]) -> bytes:
    """Bars per part, one colour per group: ``{"generated": {"64x64": 12.3, ...}, "real against real": {...}}``."""
    figure = Figure(figsize=(7, 3.4), dpi=110, layout="constrained")
    axis = figure.subplots()
    parts = list(next(iter(groups.values())))
    width = 0.8 / len(groups)
    for number, ((name, values), color) in enumerate(zip(groups.items(), ("#3b6fb6", "#b9c4d0"))):
        bar = axis.bar(np.arange(len(parts)) + (number - (len(groups) - 1) / 2) * width,
                       [values[part] for part in parts], width, label=name, color=color)
        axis.bar_label(bar, fmt="%.3g", fontsize=8, color=INK, padding=2)
    axis.set_xticks(range(len(parts)), parts)
    axis.set_title(title, fontsize=10, color=INK, loc="left")
    axis.set_ylabel(unit, fontsize=9, color=INK)
    axis.margins(y=0.18)
    _plain(axis)
    axis.legend(frameon=False, fontsize=8, ncols=2, loc="upper right")
    return png(figure)


def profiles(measures: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]) -> bytes:
    """Small multiples over the frame number: ``{"brightness": {"real": (mean (T,), sd (T,)), "fake": (...)}, ...}``, each side a line
    with a band of one standard deviation.

    A measure of fewer frames than the longest, such as the change from the frame before, begins that much later. """
    longest = max(len(mean) for sides in measures.values() for mean, _ in sides.values())
    figure, axes = _panels(list(measures))
    for axis, sides in zip(axes, measures.values()):
        for side, (mean, deviation) in sides.items():
            frames = np.arange(longest - len(mean), longest)
            if len(frames) > 1:
                axis.fill_between(frames, mean - deviation, mean + deviation, color=_COLORS[side], alpha=0.18, linewidth=0)
            else:  # a band needs two frames
                axis.errorbar(frames, mean, deviation, color=_COLORS[side], alpha=0.5, capsize=4)
            axis.plot(frames, mean, color=_COLORS[side], label=side, linewidth=1.8, marker="o" if len(frames) < 3 else None)
        axis.set_xlim(*_ends(longest))
    axes[0].legend(frameon=False, fontsize=9, ncols=2)
    return png(figure)


def plain(text: str) -> str:
    """A file's name, say, as matplotlib shows it: no mathematics between dollars, and bytes that are not UTF-8 spelt out."""
    return text.encode("utf-8", "backslashreplace").decode().replace("$", r"\$")


def over_time(metrics: dict[str, dict[str, np.ndarray]], units: dict[str, str]) -> bytes:
    """Values of paired metrics over the frame number: ``{"psnr": {film: values (T,), ...}, ...}`` and ``{"psnr": "dB", ...}``.

    One film is a line; of several the median at each frame and a band of the middle half of those that are that long. Values that are
    not finite (the PSNR of equal frames) leave a gap. """
    figure, axes = _panels([f"{name} ({units[name]})" if units.get(name) else name for name in metrics])
    for axis, films in zip(axes, metrics.values()):
        quartiles = quartiles_of(list(films.values()))
        longest = quartiles.shape[1]
        label = " " + plain(next(iter(films))) if len(films) == 1 else f"median of {len(films)} films"  # none from "_" on
        if len(films) > 1:
            axis.fill_between(range(longest), quartiles[0], quartiles[2], color=_COLORS["fake"], alpha=0.18, linewidth=0,
                              label="middle half")
        axis.plot(range(longest), quartiles[1], color=_COLORS["fake"], linewidth=1.6, label=label, marker="o" if longest < 3 else None)
        axis.set_xlim(*_ends(longest))
    axes[0].legend(frameon=False, fontsize=9)
    return png(figure)


def quartiles_of(films: list[np.ndarray]) -> np.ndarray:
    """Lower quartile, median and upper quartile (3, T) at each frame, over the films (T',) that are that long and finite there; NaN
    where there is none."""
    longest = max(map(len, films))
    values = np.full((len(films), longest), np.nan)
    for row, film in zip(values, films):
        row[:len(film)] = np.where(np.isfinite(film), film, np.nan)
    quartiles = np.full((3, longest), np.nan)
    known = ~np.isnan(values).all(axis=0)
    quartiles[:, known] = np.nanpercentile(values[:, known], (25, 50, 75), axis=0)
    return quartiles


def controls(rows: list[str], columns: list[str], values: np.ndarray, caught: np.ndarray, *, neutral: float = 1.0,
             label: str = "value of damaged clips over that of real against real") -> bytes:
    """A heat map of damages (``rows``) by metrics (``columns``): ``values`` float (R, C), NaN where not measured, and a mark where
    ``caught``, bool (R, C). ``neutral``: the value of no damage (1 for a ratio, 0 for a difference); ``label``: what the values are."""
    longest = max(map(len, rows)) * 0.085
    figure = Figure(figsize=(max(4.4, longest + 0.95 * len(columns) + 1.2), 0.42 * len(rows) + 1.9), dpi=110, layout="constrained")
    axis = figure.subplots()
    distance = np.ma.masked_invalid(values - neutral).clip(-_MOST, _MOST)
    top = max(2.0, float(np.abs(distance).filled(0).max()))
    # Logarithmic beyond 1: one damage that is seen a thousandfold must not make the others look alike.
    norm = SymLogNorm(linthresh=1, vmin=-top, vmax=top, base=10)
    colors = colormaps["RdBu_r"].with_extremes(bad=_UNKNOWN)
    axis.pcolormesh(distance, norm=norm, cmap=colors, edgecolors="white", linewidth=2)
    for row, column in np.ndindex(values.shape):
        value = values[row, column]
        red, green, blue, _ = colors(norm(distance.filled(0)[row, column]))
        dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
        axis.text(column + 0.5, row + 0.5, cell(value, caught[row, column]), ha="center", va="center", fontsize=9,
                  weight="bold" if caught[row, column] else "normal", color="white" if dark else INK)
    slanted = {"rotation": 30, "ha": "left"} if max(map(len, columns)) > 10 else {}
    axis.set_xticks(np.arange(len(columns)) + 0.5, columns, **slanted)
    axis.set_yticks(np.arange(len(rows)) + 0.5, rows)
    axis.invert_yaxis()
    axis.xaxis.tick_top()
    axis.tick_params(length=0, labelsize=9, colors=INK)
    axis.spines[:].set_visible(False)
    axis.set_xlabel(f"{label}\n✓ caught    white: as undamaged    –: not measured", fontsize=8.5, color=_SOFT)
    axis.xaxis.set_label_position("bottom")
    return png(figure)


def fit_line(sizes: list[int], values: list[float], intercept: float, name: str = "fid") -> bytes:
    """``values`` of a metric with ``sizes`` clips over 1/size, and the line that leads to ``intercept``, its value for infinitely many."""
    inverse, heights = 1 / np.asarray(sizes, float), np.asarray(values, float)
    slope = (inverse * (heights - intercept)).sum() / (inverse**2).sum()
    figure = Figure(figsize=(5.4, 3.4), dpi=110, layout="constrained")
    axis = figure.subplots()
    ends = np.array([0, inverse.max() * 1.05])
    axis.plot(ends, intercept + slope * ends, color=_SOFT, linewidth=1.2)
    axis.plot(inverse, heights, "o", color=_COLORS["fake"], markersize=5)
    axis.plot([0], [intercept], "o", color="white", markeredgecolor=_COLORS["fake"], markersize=7, clip_on=False, zorder=3)
    axis.annotate(f"{intercept:.4g} for infinitely many", (0, intercept), (10, -4 if slope > 0 else 4), textcoords="offset points",
                  va="top" if slope > 0 else "bottom", fontsize=9, color=INK)
    # As many marks as fit: large sizes crowd towards zero.
    marks = [0.0]
    for place in sorted(inverse):
        if place - marks[-1] > 0.09 * inverse.max():
            marks.append(place)
    axis.set_xticks(marks, ["∞", *(f"{round(1 / mark)}" for mark in marks[1:])])
    axis.set_xlim(0, ends[1])
    axis.margins(y=0.15)
    axis.set_xlabel("clips, spaced as 1 / clips", fontsize=9, color=INK)
    axis.set_title(f"{name} by number of clips", fontsize=10, color=INK, loc="left")
    _plain(axis)
    return png(figure)


def png(figure: Figure) -> bytes:
    """``figure`` as a PNG that is the same whenever it is made."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _panels(titles: list[str]) -> tuple[Figure, list]:
    """A panel for each title, two in a row, with the frame number along the bottom."""
    columns = min(2, len(titles))
    rows = -(-len(titles) // columns)
    figure = Figure(figsize=(4.6 * columns + 0.2, 2.5 * rows + 0.3), dpi=110, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.08)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes[len(titles):]:
        axis.remove()
    for axis, title in zip(axes, titles):
        axis.set_title(title, fontsize=10, color=INK, loc="left")
        axis.set_xlabel("frame", fontsize=9, color=INK)
        axis.xaxis.get_major_locator().set_params(integer=True)
        _plain(axis)
    return figure, axes[:len(titles)]


def _plain(axis) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color("#b8c0c8")
    axis.tick_params(labelsize=8.5, colors=INK)
    axis.grid(axis="y", color="#eceff2", linewidth=0.8)
    axis.set_axisbelow(True)


def _ends(frames: int) -> tuple[float, float]:
    return (0, frames - 1) if frames > 2 else (-0.5, frames - 0.5)


def cell(value: float, caught: bool) -> str:
    """What a cell of a heat map says: about three digits, and a mark where the damage is caught."""
    if not np.isfinite(value):
        return "–"
    if abs(value) >= _MOST:
        return f"{'>' if value > 0 else '<'} {math.copysign(_MOST, value):.0f}{' ✓' if caught else ''}"
    return f"{value:.{0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2}f}{' ✓' if caught else ''}"
