"""Several reports in one table, where their numbers may stand beside each other at all."""

from itertools import combinations
from pathlib import Path
from string import ascii_uppercase

from metrics.protocol import Protocol, Result
from metrics.stored import Report, read_report
from metrics.tables import ARROWS, central, number, of_one_crowd, quoted, title
from utils.errors import UserError

MOST = len(ascii_uppercase)


def compare(paths: list[Path]) -> tuple[list[list[str]], list[str]]:
    """Rows of text, the header first, and remarks. ``paths``: metrics.json of reports, or their folders.

    A column for each report (A, B ...), the real value, and for each report after the first how it differs from it and whether their
    95% intervals overlap. UserError where protocols differ: such numbers say nothing about each other. """
    if not 2 <= len(paths) <= MOST:
        raise UserError(f"--compare: takes 2 to {MOST} reports, comma-separated, not {len(paths)}")
    reports = [read_report(path) for path in paths]
    names = dict.fromkeys(name for report in reports for name in report.results)
    shared = [name for name in names if sum(name in report.results for report in reports) > 1]
    if not shared:
        raise UserError(f"{reports[0].path} and {reports[1].path}: have no metric in common")
    for first, second in combinations(reports, 2):
        for name in shared:
            if name in first.results and name in second.results:
                _refuse_if_different(name, first, second)
    letters = ascii_uppercase[:len(reports)]
    header = ["metric", *(f"{letter}: {_fake(report)}" for letter, report in zip(letters, reports)), "real"]
    for letter in letters[1:]:
        header += [f"{letter} - A", f"intervals A, {letter}"]
    rows = [header]
    for name in names:
        results = [report.results.get(name) for report in reports]
        known = [result for result in results if result]
        floors = [number(result.floor.value) for result in known if result.floor]
        row = [f"{title(known[0])} {ARROWS[known[0].better]}", *(quoted(result) if result else "" for result in results)]
        row += floors[:1] or [""]
        for other in results[1:]:
            row += _against(results[0], other)
        rows.append(row)
    return rows, _remarks(reports, shared, letters)


def _against(first: Result | None, other: Result | None) -> list[str]:
    """How much ``other`` is larger, and whether the intervals meet; empty where that is not known."""
    if not first or not other:
        return ["", ""]
    values = central(first), central(other)
    difference = "" if None in values else f"{values[1] - values[0]:+#.4g}".rstrip(".")
    if not first.interval or not other.interval:
        return [difference, ""]
    meet = first.interval.low <= other.interval.high and other.interval.low <= first.interval.high
    return [difference, "overlap" if meet else "apart"]


def _refuse_if_different(name: str, first: Report, second: Report) -> None:
    protocols = [report.results[name].protocol for report in (first, second)]
    # Asked of the one that does not know the content of its clips: then their path has to do.
    asked, other = sorted(protocols, key=lambda protocol: protocol.real_content is not None)
    differing = asked.difference(other)
    # The value does not depend on whether reals were compared with reals too.
    if None in (asked.floor_clips, other.floor_clips) and "floor_clips" in differing:
        differing.remove("floor_clips")
    if differing:
        said = ", ".join(f"{field} {_value(protocols[0], field)} and {_value(protocols[1], field)}" for field in differing)
        raise UserError(f"{name}: {first.path} and {second.path} cannot be compared, their protocols differ: {said}; measure both alike")


def _value(protocol: Protocol, field: str) -> str:
    value = getattr(protocol, field)
    return "none" if value is None else repr(value) if isinstance(value, str) else str(value)


def _fake(report: Report) -> str:
    return " and ".join(dict.fromkeys(result.protocol.fake for result in report.results.values()))


def _remarks(reports: list[Report], shared: list[str], letters: str) -> list[str]:
    """What a reader of the table should know."""
    notes = [f"{letter}: {report.path}" for letter, report in zip(letters, reports)]
    notes += [f"{letter}: written by an older version that does not say {', '.join(report.unsaid)} of its protocols"
              + (", so real clips are taken for the same by their path" if "real_content" in report.unsaid else "")
              for letter, report in zip(letters, reports) if report.unsaid]
    for name in dict.fromkeys(name for report in reports for name in report.results):
        if name not in shared:
            notes.append(f"{name}: only in {next(letter for letter, report in zip(letters, reports) if name in report.results)}")
    for field in ("libraries", "precision"):
        values = [" and ".join(sorted({getattr(result.protocol, field) for result in report.results.values()})) for report in reports]
        if len(set(values)) > 1:
            notes.append(f"not the same {field}: {'; '.join(map(': '.join, zip(letters, values)))}")
    results = [result for report in reports for result in report.results.values()]
    if any(result.interval for result in results):
        notes.append("apart: the 95% intervals do not meet, so the difference is more than the choice of clips explains; "
                     "overlap: it may be no more than that")
    if single := list(dict.fromkeys(result.name for result in results if of_one_crowd(result))):
        notes.append(f"real, of {', '.join(single)}: the value of the real clips themselves; of others: real clips against others")
    return notes
