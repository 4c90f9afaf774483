"""The ratios Corelog wants to reach, judged from the medians of a session.

A goal whose measurements are not all there, or not all valid, is not judged.
"""

import generator


def render(cells, scenarios, floor):
    """The list of goals, and how far each is."""
    view = View(cells, scenarios, floor)
    lines = ["## Goals", "", "| goal | ratio | |", "| --- | --- | --- |"]
    for text, ratio, reached in GOALS:
        value = ratio(view)
        verdict = "not measured" if value is None else "reached" if reached(value) else "**missed**"
        lines.append(f"| {text} | {'-' if value is None else f'{value:.3g}'} | {verdict} |")
    return "\n".join(lines) + "\n"


class View:
    """Medians by scenario, variant, figure and place of the step."""

    def __init__(self, cells, scenarios, floor):
        self._cells = cells
        self._scenarios = {one.name: one for one in scenarios}
        self._floor = floor

    def of(self, scenario, variant, figure, step="", valid=True):
        one = self._scenarios.get(scenario)
        for number, candidate in enumerate(one.steps if one else []):
            cell = self._cells.get((scenario, number, variant))
            if candidate.name == step and cell is not None:
                return None if valid and cell.invalid else cell.median(figure)
        return None

    def floor(self, scenario, figure):
        one = self._scenarios.get(scenario)
        if one is None:
            return None
        return generator.floor_figures(self._floor, one.floor, one.steps[0].run.arguments["size"]).get(figure)


def quotient(upper, lower):
    return upper / lower if upper is not None and lower else None


def to_floor(scenario, variant, figure):
    return lambda view: quotient(view.of(scenario, variant, figure), view.floor(scenario, figure))


def between(scenario, ours, theirs, figure, step=""):
    """Ours by theirs."""
    return lambda view: quotient(view.of(scenario, ours, figure, step), view.of(scenario, theirs, figure, step))


def steps(scenario, variant, figure, first, second):
    """The second step by the first."""
    return lambda view: quotient(view.of(scenario, variant, figure, second), view.of(scenario, variant, figure, first))


def at_least(limit):
    return lambda value: value >= limit


def at_most(limit):
    return lambda value: value <= limit


ONE, INGEST = "one-in-flight", "ingest"
NATIVE, DOOR = "corelog-native", "corelog-kafka"

GOALS = [
    ("one in flight: native p50 at most 1.3 of the floor's", to_floor(ONE, NATIVE, "service.p50"), at_most(1.3)),
    ("one in flight: native p99 at most 2 of the floor's", to_floor(ONE, NATIVE, "service.p99"), at_most(2)),
    ("one in flight: Kafka door's p50 at most 1.15 of native's", between(ONE, DOOR, NATIVE, "service.p50"), at_most(1.15)),
    ("ingest: native at least 0.8 of the floor", to_floor(INGEST, NATIVE, "megabytes"), at_least(0.8)),
    ("ingest: at least 10 times Kafka that flushes", between(INGEST, DOOR, "kafka-flush", "megabytes"), at_least(10)),
    ("ingest: p99 at most 1/10 of Kafka's that flushes", between(INGEST, DOOR, "kafka-flush", "response.p99"), at_most(0.1)),
    ("ingest: at least 2 times Kafka that does not flush", between(INGEST, DOOR, "kafka", "megabytes"), at_least(2)),
    *(
        (f"ingest: at least 5 times {peer}", between(INGEST, NATIVE, peer, "megabytes"), at_least(5))
        for peer in ("nats-sync", "rabbitmq-quorum", "redis-always")
    ),
    *(
        (f"CPU per message at 1,000 partitions at most 1.3 of that at 1: {variant}",
         steps("partitions", variant, "cpu", "1 partition", "1,000 partitions"), at_most(1.3))
        for variant in (NATIVE, DOOR)
    ),
    *(
        (f"p99 at 1,000 partitions at most 3 of that at 1: {variant}",
         steps("partitions", variant, "response.p99", "1 partition", "1,000 partitions"), at_most(3))
        for variant in (NATIVE, DOOR)
    ),
    *(
        (f"CPU per message at 2,000 connections at most 1.3 of that at 1: {variant}",
         steps("connections", variant, "cpu", "1 connection", "2,000 connections"), at_most(1.3))
        for variant in (NATIVE, DOOR)
    ),
    *(
        (f"p99 beside a cold catch-up read at most 1.5 of that alone: {variant}",
         steps("catch-up", variant, "response.p99", "alone", "beside a catch-up read"), at_most(1.5))
        for variant in (NATIVE, DOOR)
    ),
    *(
        (f"p99 while retention deletes at most 1.5 of that before: {variant}",
         steps("retention", variant, "response.p99", "nothing to delete", "deleting all the time"), at_most(1.5))
        for variant in (NATIVE, DOOR)
    ),
]
