"""Tables, JSON, LaTeX and a page from measured results, written so that an earlier report survives until the new one
is whole."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import torch

from metrics import page
from metrics.protocol import Result, finite_only
from metrics.tables import ARROWS, full_rows, markdown, number, of_one_crowd, quoted, real_column, title
from utils.files import atomic_file, holds, write_text

Tables = dict[str, list[list[str]]]
"""Rows of text by title, the header first."""

_ARROWS = {"higher": r"$\uparrow$", "lower": r"$\downarrow$", "near real": r"$\rightarrow$"}
_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {sign: f"\\{sign}" for sign in "&%$#_{}"}


def libraries() -> str:
    """The libraries that arithmetic is left to, with versions."""
    return f"torch {torch.__version__}, numpy {np.__version__}, opencv {cv2.__version__}"


def table(results: list[Result]) -> str:
    """Everything that was measured, as a Markdown table."""
    return markdown(full_rows(results))


def markdown_rows(results: list[Result]) -> str:
    """One Markdown row for each metric, with nothing but what a paper's table shows."""
    rows = [["metric", "value", real_column(results)]]
    return markdown(rows + [[f"{title(result)} {ARROWS[result.better]}", quoted(result), _real(result)] for result in results])


def latex(results: list[Result]) -> str:
    """The same as a LaTeX table of package booktabs."""
    lines = [r"% \usepackage{booktabs}; better: \uparrow higher, \downarrow lower, \rightarrow nearer to real",
             r"% brackets: 95% interval; \pm: standard deviation of repeated draws", r"\begin{tabular}{lrr}", r"\toprule",
             f"Metric & Value & {real_column(results).capitalize()} \\\\", r"\midrule"]
    for result in results:
        unit = f" ({_escaped(result.unit)})" if result.unit else ""
        metric = f"{_escaped(title(result))}{unit} {_ARROWS[result.better]}"
        lines.append(f"{metric} & {_formula(quoted(result))} & {_formula(_real(result))} \\\\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def protocol_groups(results: list[Result]) -> list[tuple[str, dict]]:
    """How the numbers were made: (metrics, what it says of them), first what metrics of one kind share, then what is each one's own."""
    found = []
    paired = [result for result in results if result.protocol.frames_per_clip is None]
    for group in filter(None, (paired, [result for result in results if result not in paired])):
        protocols = [result.as_dict()["protocol"] for result in group]
        shared = {key: value for key, value in protocols[0].items() if all(other[key] == value for other in protocols)}
        own = [{key: value for key, value in protocol.items() if key not in shared} for protocol in protocols]
        said = [(", ".join(result.name for result in group), shared), *((result.name, values) for result, values in zip(group, own))]
        found += [(names, values) for names, values in ((names, _said(values)) for names, values in said) if values]
    return found


def explanations(results: list[Result]) -> list[str]:
    """What the columns mean."""
    lines = []
    if intervals := [result.interval for result in results if result.interval]:
        lines.append(f"95% interval: where the value may lie had other clips been drawn, by {intervals[0].resamples} resamples of them")
    single = [result.name for result in results if of_one_crowd(result)]
    if double := [result.name for result in results if result.floor and not of_one_crowd(result)]:
        column = f"real, of {', '.join(double)}" if single else "real vs real"
        lines.append(f"{column}: the same between two disjoint draws of real clips, what clips as good as others of these videos would "
                     "get")
    if single:
        lines.append(f"real, of {', '.join(single)}: the value of the real clips themselves")
    return lines


def protocol_lines(results: list[Result]) -> list[str]:
    """The protocols, one line each, and what the columns mean."""
    lines = [f"{names}: {', '.join(f'{key} {value}' for key, value in values.items())}" for names, values in protocol_groups(results)]
    return lines + explanations(results)


def summary(results: list[Result], notes: list[str], tables: Tables | None = None) -> str:
    """The table, how the numbers were made as a list under it, and further tables under their titles."""
    remarks = "\n".join(f"- {remark}" for remark in [*protocol_lines(results), *(f"note: {note}" for note in notes)])
    further = [f"## {name}\n\n{markdown(rows)}" for name, rows in (tables or {}).items()]
    return "\n\n".join(filter(None, [table(results), remarks, *further] if results else [*further, remarks]))


def foreign(folder: Path) -> str | None:
    """A file there of a name that reports use, and that is of none: nobody's work is replaced."""
    if (folder / "report.html").exists() and not (folder / "metrics.md").exists():
        return "report.html"
    return None if holds(folder / "metrics.json", "metrics") else "metrics.json"


def write(folder: Path, results: list[Result], pictures: dict[str, bytes], notes: list[str], command: str,
          tables: Tables | None = None) -> None:
    """metrics.json, metrics.md, metrics.tex, the pictures and report.html into ``folder``; each replaces its
    predecessor in one step.

    What an earlier report left and this one does not renew is removed: it would mislead. Without results there is no metrics.tex.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tables = tables or {}
    outdated = set(_pictures_of(folder)) - set(pictures)
    for name, png in pictures.items():
        with atomic_file(folder / name) as temporary:
            temporary.write_bytes(png)
    write_text(folder / "metrics.md", summary(results, notes, tables) + "\n")
    if results:
        write_text(folder / "metrics.tex", latex(results))
    elif (folder / "metrics.json").exists():
        outdated.add("metrics.tex")
    paper = {"LaTeX": latex(results), "Markdown": markdown_rows(results)} if results else {}
    sides = {(result.protocol.fake, result.protocol.real) for result in results}
    text = page.render(full_rows(results) if results else [], tables, pictures, notes, explanations(results), protocol_groups(results),
                       command, paper, *(sides if len(sides) == 1 else []))
    write_text(folder / "report.html", text)
    values = {"command": command, "metrics": {result.name: result.as_dict() for result in results}, "notes": notes,
              "tables": tables, "pictures": list(pictures)}
    write_text(folder / "metrics.json", json.dumps(finite_only(values), indent=2, allow_nan=False) + "\n")
    for name in outdated:
        (folder / name).unlink(missing_ok=True)


def _pictures_of(folder: Path) -> list[str]:
    """Names of the pictures of the report in ``folder``, if there is one."""
    try:
        names = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["pictures"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [name for name in names if isinstance(name, str) and Path(name).name == name and name.endswith(".png")]


def _real(result: Result) -> str:
    return number(result.floor.value) if result.floor else ""


def _said(values: dict) -> dict[str, str]:
    """A protocol for people: ``settings`` beside the rest, without what says nothing or is said already."""
    flat = {key: value for key, value in (values | values.get("settings", {})).items() if key not in ("settings", "metric")}
    named = {"protocol" if key == "name" else key.replace("_", " "): value for key, value in flat.items()}
    return {key: str(value) for key, value in named.items() if value not in (None, "", "none")}


def _escaped(text: str) -> str:
    return "".join(_SPECIAL.get(sign, sign) for sign in text)


def _formula(text: str) -> str:
    """A number as LaTeX sets it; words as they are."""
    if not text or not any(sign.isdigit() for sign in text):
        return text
    powers = re.sub(r"e([+-])0*(\d+)", lambda match: rf" \times 10^{{{match[1].replace('+', '')}{match[2]}}}", text)
    return f"${powers.replace('±', chr(92) + 'pm').replace(' [', '$ $[')}$"
