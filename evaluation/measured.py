"""What a measurement hands to the report."""

from dataclasses import dataclass, field

from metrics.protocol import Result


@dataclass
class Measured:
    """Numbers, pictures by file name, remarks, and further tables by title."""

    results: list[Result]
    pictures: dict[str, bytes]
    notes: list[str]
    tables: dict[str, list[list[str]]] = field(default_factory=dict)


def together(order: list[str], parts: list[Measured]) -> Measured:
    """One report, its numbers in the order that was asked for."""
    results = {result.name: result for part in parts for result in part.results}
    return Measured([results[name] for name in order if name in results],
                    {name: png for part in parts for name, png in part.pictures.items()},
                    [note for part in parts for note in part.notes],
                    {title: rows for part in parts for title, rows in part.tables.items()})
