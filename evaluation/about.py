"""What a report shows of clips beyond their numbers: samples beside reals, nearest real neighbours, classes, profiles over time."""

import torch

from evaluation.measured import Measured
from metrics import pictures, plots
from metrics.intervals import statistic_of
from metrics.neighbours import nearest
from metrics.registry import Metric
from metrics.sets import PROFILES, THUMBNAILS, Crowd, SetComparison, key_of
from metrics.tables import number

NEIGHBOURS = 8  # generated clips shown with their nearest real ones
FEWEST_OF_CLASS = 8  # clips of a class, on both sides, for a score of its own


def describe_clips(found: SetComparison, real: Crowd, fake: Crowd, classes: list[str], metrics: dict[str, Metric]) -> Measured:
    """Pictures, remarks and tables; no results."""
    images, notes, tables = {}, [], {}
    shown = {side: [clip.numpy() for clip in clips] for side, clips in found.shown.items()}
    first = {side: [clip[0] for clip in clips] for side, clips in shown.items()}
    images["samples.png"] = pictures.side_by_side(first["real"], first["fake"], f"real: {_short(real.name)}", f"fake: {_short(fake.name)}")
    if len(found.shown["fake"][0]) > 1:
        images["strips.png"] = pictures.strips(found.shown["real"], found.shown["fake"])
        images["profiles.png"] = plots.profiles(_profiles(found))
    if not fake.answers and (real.content != fake.content or real.content is None):
        memory = nearest(found.collected["real"][THUMBNAILS], found.collected["fake"][THUMBNAILS], NEIGHBOURS, found.numbers["real"],
                         len(found.shown["real"][0]))
        fakes = [fake.get(found.numbers["fake"][row:row + 1])[0, 0].numpy() for row in memory.shown]
        reals = [real.get(found.numbers["real"][row:row + 1])[0, 0].numpy() for row in memory.neighbours]
        images["neighbours.png"] = pictures.neighbours(fakes, reals, [f"distance {distance:.3f}" for distance in memory.distances])
        notes.append(memory.remark)
    if len(classes) > 1 and real.labels and fake.labels:
        table, remarks = per_class(found, real, fake, classes, metrics)
        tables |= {"by class": table} if len(table) > 1 else {}
        notes += remarks
    return Measured([], images, notes, tables)


def per_class(found: SetComparison, real: Crowd, fake: Crowd, classes: list[str],
              metrics: dict[str, Metric]) -> tuple[list[list[str]], list[str]]:
    """Rows of a table: each class's clips against the real ones of the same class, or beside theirs; classes of few clips are left out, and
    the Inception score, which is about many classes. And what is to be said of the metrics there, once each."""
    labels = {side: crowd.labels(found.numbers[side]) for side, crowd in (("real", real), ("fake", fake))}
    kept = {name: metric for name, metric in metrics.items() if (metric.kind, metric.collects) != ("samples", "features") and all(
        found.collected[side][key_of(metric)].rows == len(labels[side]) for side in labels)}
    columns = [(name, metric, sides) for name, metric in kept.items()
               for sides in ([("fake",), ("real",)] if metric.kind == "samples" else [("real", "fake")])]
    table = [["class", "clips", *(name + ", real" * (sides == ("real",)) for name, _, sides in columns)]]
    remarks: dict[str, str] = {}
    for label, name in enumerate(classes):
        rows = {side: (values == label).nonzero().flatten() for side, values in labels.items()}
        count = min(map(len, rows.values()))
        if count < FEWEST_OF_CLASS or not kept:
            continue
        # Evenly from all videos of the class: rows are in order of position.
        rows = {side: places[torch.linspace(0, len(places) - 1, count).round().long()] for side, places in rows.items()}
        cells = []
        for metric_name, metric, sides in columns:
            if count < metric.fewest:
                cells.append("")
                continue
            collectors = [found.collected[side][key_of(metric)] for side in sides]
            if metric.kind == "sets":  # as a whole: what is resampled for intervals may be a quicker estimate
                score = metric.function(*(collector.select(rows[side]) for collector, side in zip(collectors, sides)))
                value = score.value
                if score.note:
                    remarks.setdefault(metric_name, f"{metric_name} by class, {name} for one: {score.note}")
            else:
                value = statistic_of(metric, *collectors)(*(rows[side] for side in sides))
            cells.append(number(value))
        table.append([name, str(count), *cells])
    return table, [*remarks.values()]


def _profiles(found: SetComparison) -> dict:
    of = {side: found.collected[side][PROFILES].profiles() for side in ("real", "fake")}
    return {name: {side: (of[side][name].mean, of[side][name].deviation) for side in of} for name in of["real"]}


def _short(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2]
