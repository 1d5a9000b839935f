"""A table, JSON and a page from measured results, written so that an earlier report survives until the new one is
whole."""

import base64
import html
import json
from pathlib import Path

import cv2
import numpy as np
import torch

from metrics.protocol import Result
from utils.files import atomic_file, write_text

def table(results: list[Result]) -> str:
    """A Markdown table, aligned so that it reads well on a terminal too."""
    rows = [("metric", "value", "real vs real", "unit", "better", "of")]
    for result in results:
        protocol = result.protocol
        count = f"{protocol.fake_clips} clips" if protocol.frames_per_clip else f"{protocol.clip_frames} frames"
        floor = result.floor
        rows.append((result.name, number(result.score.value), number(floor.value) if floor else "", result.unit,
                     result.better, count))
        for part, value in result.score.parts.items():
            unit = result.unit if isinstance(value, float) else ""
            rows.append((f"- {part}", number(value), number(floor.parts[part]) if floor else "", unit, "", ""))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def libraries() -> str:
    """The libraries that arithmetic is left to, with versions."""
    return f"torch {torch.__version__}, numpy {np.__version__}, opencv {cv2.__version__}"


def number(value: float | None) -> str:
    """Four significant digits; counts whole."""
    if value is None:
        return "infinite"
    return str(value) if isinstance(value, int) else f"{value:#.4g}".rstrip(".")


def protocol_lines(results: list[Result]) -> list[str]:
    """How the numbers were made: what metrics of one kind share, then what is each one's own."""
    lines = []
    paired = [result for result in results if result.protocol.frames_per_clip is None]
    for group in filter(None, (paired, [result for result in results if result not in paired])):
        protocols = [result.as_dict()["protocol"] for result in group]
        shared = {key: value for key, value in protocols[0].items() if all(other[key] == value for other in protocols)}
        own = [{key: value for key, value in protocol.items() if key not in shared} for protocol in protocols]
        lines += [f"{', '.join(result.name for result in group)}: {_sentence(shared)}"]
        lines += [f"{result.name}: {_sentence(values)}" for result, values in zip(group, own) if values]
    if any(result.floor for result in results):
        lines.append("real vs real: the same between two disjoint draws of real clips, what a perfect model would get")
    return lines


def summary(results: list[Result], notes: list[str], tables=None) -> str:
    """The table and, as a list under it, how the numbers were made."""
    remarks = [*protocol_lines(results), *(f"note: {note}" for note in notes)]
    return "\n".join([table(results), "", *(f"- {remark}" for remark in remarks)])


def write(folder: Path, results: list[Result], pictures: dict[str, bytes], notes: list[str], command: str, tables=None) -> None:
    """metrics.json, metrics.md, the pictures and report.html into ``folder``; each replaces its predecessor in one
    step.

    Pictures of an earlier report that this one does not renew are removed: they would mislead.
    """
    folder.mkdir(parents=True, exist_ok=True)
    outdated = set(_pictures_of(folder)) - set(pictures)
    for name, png in pictures.items():
        with atomic_file(folder / name) as temporary:
            temporary.write_bytes(png)
    write_text(folder / "metrics.md", summary(results, notes) + "\n")
    write_text(folder / "report.html", _page(results, pictures, notes, command))
    values = {"command": command, "metrics": {result.name: result.as_dict() for result in results}, "notes": notes,
              "pictures": list(pictures)}
    write_text(folder / "metrics.json", json.dumps(values, indent=2, allow_nan=False) + "\n")
    for name in outdated:
        (folder / name).unlink(missing_ok=True)


def _pictures_of(folder: Path) -> list[str]:
    """Names of the pictures of the report in ``folder``, if there is one."""
    try:
        names = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["pictures"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [name for name in names if isinstance(name, str) and Path(name).name == name and name.endswith(".png")]


def _sentence(values: dict) -> str:
    said = {key: value for key, value in _flat(values).items() if value not in (None, "", "none")}
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in said.items())


def _flat(values: dict) -> dict:
    """A protocol without what the line says already, its ``settings`` beside the rest."""
    return {key: value for key, value in (values | values.get("settings", {})).items() if key not in ("settings", "metric")}


def _page(results: list[Result], pictures: dict[str, bytes], notes: list[str], command: str) -> str:
    """One self-contained page: table, protocol, pictures."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table(results).splitlines()]
    cells = ["<tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in rows[0]) + "</tr>"]
    for row in rows[2:]:
        kind = ' class="part"' if row[0].startswith("- ") else ""
        values = "".join(f"<td>{html.escape(cell.removeprefix('- '))}</td>" for cell in row)
        cells.append(f"<tr{kind}>{values}</tr>")
    images = "".join(f'<figure><img src="data:image/png;base64,{base64.b64encode(png).decode()}" alt="{name}">'
                     f"<figcaption>{name}</figcaption></figure>" for name, png in pictures.items())
    lines = "".join(f"<li>{html.escape(remark)}</li>" for remark in [*protocol_lines(results), *notes])
    style = ("body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}"
             "table{border-collapse:collapse}td,th{padding:.3em .9em;text-align:left;border-bottom:1px solid #ddd}"
             "td:nth-child(2),td:nth-child(3){text-align:right;font-variant-numeric:tabular-nums}"
             ".part td{color:#666;border:0;padding-top:0}.part td:first-child{padding-left:2em}"
             "img{max-width:100%;border:1px solid #eee}figure{margin:2em 0}figcaption,li{color:#555;font-size:13px}"
             "li{overflow-wrap:anywhere}code{background:#f4f4f4;padding:.2em .4em;overflow-wrap:anywhere}")
    return (f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width"><title>Evaluation</title><style>{style}</style></head>'
            f"<body><h1>Evaluation</h1><p><code>{html.escape(command)}</code></p>"
            f"<table>{''.join(cells)}</table><h2>How it was measured</h2><ul>{lines}</ul>{images}</body></html>\n")
