"""A report as one self-contained page: the numbers first, then what they mean, pictures, and how it was measured."""

import base64
import html
import re

# File names of pictures -> title and how to read it. A trailing * stands for any ending, the first match counts.
CAPTIONS = {
    "samples.png": ("Samples", "Frames drawn evenly from both sides, none of them chosen by eye."),
    "strips.png": ("Clips over time", "Each row is one clip, from left to right."),
    "neighbours.png": ("Nearest real frames", "Beneath each generated frame the real one most like it. Pairs that can hardly be told "
                       "apart, with distances far below the others', were memorised."),
    "profiles.png": ("Along the clip", "Mean over clips at each frame, with a band of one standard deviation. Lines that part as frames go "
                     "by show a model that fades, blurs or freezes; a narrower band shows clips more alike than real ones."),
    "over_time.png": ("Frame by frame", "The median film at each frame and the middle half of the films."),
    "differences.png": ("Worst, middle and best frame", "The reference, the result, and where they differ."),
    "predictions.png": ("Predictions", "The last frame of real clips, and what was predicted for it from the first."),
    "controls.png": ("Which metric sees which damage", "Real clips damaged on purpose. A metric without a mark is blind to that "
                     "damage."),
    "swd*": ("Sliced Wasserstein distance by scale", "Fine detail to the left, coarse structure to the right."),
    "*_by_size.png": ("Value by number of clips", "Few clips make a Fréchet distance too large; the line leads to what infinitely "
                    "many would give."),
}

_STYLE = """
:root{color-scheme:light dark;--ink:#1d232b;--soft:#5c6672;--line:#dde2e8;--paper:#fff;--raised:#f5f7f9}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ed;--soft:#9aa5b1;--line:#353c45;--paper:#15191e;--raised:#1f252c}}
*{box-sizing:border-box}
body{font:15px/1.55 system-ui,sans-serif;max-width:1120px;margin:0 auto;padding:1.5rem 1rem 4rem;color:var(--ink);background:var(--paper)}
h1{font-size:1.6rem;margin:0 0 .2rem}h2{font-size:1.15rem;margin:2.6rem 0 .7rem}h3{font-size:1rem;margin:1.4rem 0 .4rem}
p{margin:.2rem 0 1rem}.soft,figcaption,ul{color:var(--soft)}
.scroll{overflow-x:auto}table{border-collapse:collapse}
table{border-bottom:1px solid var(--line)}
th,td{padding:.38rem 1.4rem .38rem 0;text-align:left}th{font-weight:600;color:var(--soft);font-size:13px;vertical-align:bottom}
td{white-space:nowrap;border-top:1px solid var(--line)}td.long{white-space:normal;min-width:14rem}
.num{text-align:right;font-variant-numeric:tabular-nums}td:first-child,.results td:nth-child(2){font-weight:600}
.results .part td{color:var(--soft);padding-top:0;padding-bottom:.25rem;font-weight:400;border:0}.part td:first-child{padding-left:1.2rem}
@media(max-width:640px){table{font-size:13.5px}th,td{padding-right:.8rem}}
ul{padding-left:1.1rem;font-size:13.5px;margin:.8rem 0}li,dd,code{overflow-wrap:anywhere}
figure{margin:1.6rem 0}
figcaption{font-size:13.5px;margin-bottom:.5rem;max-width:72ch}figcaption b{color:var(--ink);font-size:15px;display:block}
img{max-width:100%;background:#fff;border:1px solid var(--line);border-radius:6px;padding:6px}
dl{display:grid;grid-template-columns:minmax(8rem,max-content) 1fr;gap:.15rem 1.2rem;margin:0;font-size:13.5px}
dt{color:var(--soft)}dd{margin:0}@media(max-width:520px){dl{grid-template-columns:1fr}dd{margin-bottom:.4rem}}
code,pre{background:var(--raised);border-radius:6px;font-size:13px}code{padding:.2rem .4rem}pre{padding:.8rem;overflow-x:auto}
summary{cursor:pointer}
"""
_NUMBER = re.compile(r"[-+]?(\d[\d.,]*(e[-+]?\d+)?|infinite|undefined)( ?%)?( ±.*| ?\[.*\])?|\[.*\]")


def render(results: list[list[str]], tables: dict[str, list[list[str]]], pictures: dict[str, bytes], notes: list[str],
           explanations: list[str], protocol: list[tuple[str, dict]], command: str, paper: dict[str, str],
           sides: tuple[str, str] | None = None) -> str:
    """``results`` and ``tables``: rows of text, the header first; ``paper``: the same numbers to copy, by format; ``sides``: what was
    measured against what, where that is one thing."""
    about = f"<p><b>{_text(sides[0])}</b> <span class=soft>measured against</span> <b>{_text(sides[1])}</b></p>" if sides else ""
    parts = ["<h1>Evaluation</h1>", about, _table(results, "results") if results else "", _list(explanations)]
    parts += [f"<h2>{_text(name)}</h2>{_table(rows)}" for name, rows in tables.items()]
    parts += ["<h2>Notes</h2>", _list(notes)] if notes else []
    parts += ["<h2>Pictures</h2>", *(_figure(name, png) for name, png in pictures.items())] if pictures else []
    parts += ["<h2>How it was measured</h2>"] if protocol else []
    parts += [f"<h3>{_text(names)}</h3>{_pairs(values)}" for names, values in protocol]
    parts += ["<h2>To repeat it</h2>", f"<p><code>{_text(command)}</code></p>"]
    parts += [f"<details><summary>For a paper: {_text(name)}</summary><pre>{_text(text)}</pre></details>" for name, text in paper.items()]
    return ('<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>Evaluation</title><style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n")


def caption(name: str) -> tuple[str, str]:
    """Title and explanation of the picture in file ``name``; the name itself, read aloud, for one that is not known."""
    for pattern, said in CAPTIONS.items():
        start, star, end = pattern.partition("*")
        if name == pattern or star and name.startswith(start) and name.endswith(end):
            return said
    return name.removesuffix(".png").replace("_", " "), ""


def _text(value: str) -> str:
    return html.escape(str(value))


def _list(lines: list[str]) -> str:
    return f"<ul>{''.join(f'<li>{_text(line)}</li>' for line in lines)}</ul>" if lines else ""


def _pairs(values: dict[str, str]) -> str:
    return f"<dl>{''.join(f'<dt>{_text(key)}</dt><dd>{_text(value)}</dd>' for key, value in values.items())}</dl>"


def _table(rows: list[list[str]], kind: str = "") -> str:
    """Columns of numbers to the right; rows that begin with a dash are parts of the one above them."""
    header, *body = rows
    numeric = [all(_NUMBER.fullmatch(row[column]) for row in body if row[column]) and any(row[column] for row in body)
               for column in range(len(header))]
    kinds = ["num" if number else "" for number in numeric]
    lines = ["<tr>" + "".join(f'<th class="{column}">{_text(cell)}</th>' for cell, column in zip(header, kinds)) + "</tr>"]
    for row in body:
        part = row[0].startswith("- ")
        row = [row[0].removeprefix("- "), *row[1:]]
        cells = "".join(f'<td class="{column or ("long" if len(cell) > 40 else "")}">{_text(cell)}</td>'
                        for cell, column in zip(row, kinds))
        lines.append(f'<tr class="{"part" if part else "whole"}">{cells}</tr>')
    return f'<div class="scroll"><table class="{kind}">{"".join(lines)}</table></div>'


def _figure(name: str, png: bytes) -> str:
    title, explanation = caption(name)
    return (f'<figure><figcaption><b>{_text(title)}</b>{_text(explanation)}</figcaption>'
            f'<img alt="{_text(title)}" src="data:image/png;base64,{base64.b64encode(png).decode()}"></figure>')
