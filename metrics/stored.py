"""A report's metrics.json read back into results."""

import json
from dataclasses import MISSING, dataclass, fields
from pathlib import Path

from metrics.confidence import Interval
from metrics.protocol import Protocol, Result, Score
from utils.errors import UserError


@dataclass
class Report:
    """What a metrics.json holds."""

    path: Path
    results: dict[str, Result]
    unsaid: list[str]
    """Names of what an older version did not yet write down of its protocols."""


def read_report(path: Path) -> Report:
    """``path``: a metrics.json, or the folder of a report. UserError if it is none, or says too little to know what its numbers mean."""
    file = path / "metrics.json" if path.is_dir() else path
    try:
        metrics = json.loads(file.read_text(encoding="utf-8"))["metrics"]
        found = [(name, item, item["score"], dict(item["protocol"])) for name, item in metrics.items()]
    except FileNotFoundError:
        raise UserError(f"{file}: there is no such file; give the metrics.json of a report, or its folder") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{file}: is no metrics.json of a report") from None
    if not found:
        raise UserError(f"{file}: holds no measured metric")
    report = Report(file, {}, [])
    for name, item, score, protocol in found:
        where = f"{file}: {name}"
        _check_complete(where, protocol)
        report.unsaid += [field.name for field in fields(Protocol) if field.name not in protocol and field.name not in report.unsaid]
        try:
            report.results[name] = Result(
                name, Score(**score), Score(**item["floor"]) if item["floor"] else None, item["unit"], item["better"], Protocol(**protocol),
                Interval(**item["interval"]) if item.get("interval") else None, item.get("draws", []))
        except (KeyError, TypeError) as error:
            raise UserError(f"{where}: cannot be read, written by another version ({error}); measure it again") from None
        _check_values(where, report.results[name])
    return report


def _check_values(where: str, result: Result) -> None:
    """A file that somebody edited."""
    numbers = [side.value for side in (result.score, result.floor) if side and side.value is not None]
    numbers += [result.interval.low, result.interval.high] if result.interval else []
    numbers += [draw for draw in result.draws if draw is not None] if isinstance(result.draws, list) else [result.draws]
    if not all(isinstance(number, (int, float)) for number in numbers) or not isinstance(result.protocol.fake, str):
        raise UserError(f"{where}: holds values that are no numbers; measure it again")


def _check_complete(where: str, protocol: dict) -> None:
    """Fields that came with a later version have a default; without the others, or with unknown ones, values cannot be compared."""
    missing = [field.name for field in fields(Protocol) if field.default is MISSING and field.name not in protocol]
    unknown = sorted(set(protocol) - {field.name for field in fields(Protocol)})
    if missing or unknown:
        said = " and ".join(f"{verb} {', '.join(names)}" for verb, names in (("lacks", missing), ("has", unknown)) if names)
        raise UserError(f"{where}: its protocol {said}: written by {'an older' if missing else 'a newer'} version; measure it again")
