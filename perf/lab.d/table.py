"""Medians, and one table per step: the machine's floor first, then every broker, each figure with its ratios."""

import statistics

import peers

UNITS = {"rate": "msg/s", "received": "msg/s out", "megabytes": "MB/s", "cpu": "us CPU/msg"}
# Rows that others are compared with, in order of preference.
OURS = ("corelog-native", "corelog-kafka")


class Cell:
    """What the repeats of one variant at one step gave."""

    def __init__(self):
        self.figures = {}
        self.invalid = []
        self.runs = 0

    def add(self, figures, invalid):
        self.runs += 1
        for name, value in figures.items():
            if value is not None:
                self.figures.setdefault(name, []).append(value)
        self.invalid.extend(invalid)

    def median(self, name):
        values = self.figures.get(name)
        return statistics.median(values) if values else None

    def spread(self, name):
        """Largest by smallest, of the repeats."""
        values = self.figures.get(name, [])
        return max(values) / min(values) if len(values) > 1 and min(values) > 0 else None


def heading(figure):
    if figure in UNITS:
        return UNITS[figure]
    distribution, point = figure.split(".")
    return f"{distribution} {point.replace('p999', 'p99.9')}"


def shown(figure, value):
    if value is None:
        return "-"
    if figure in ("rate", "received"):
        return f"{value:,.0f}"
    if figure == "megabytes":
        return f"{value:,.1f}"
    if figure == "cpu":
        return f"{value:.2f}"
    for limit, unit, scale in ((1e3, "us", 1), (1e6, "ms", 1e3)):
        if value < limit:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e6:.3g} s"


def ratio(value, base):
    if value is None or not base:
        return "-"
    quotient = value / base
    return f"{quotient:.0f}x" if quotient >= 100 else f"{quotient:.2g}x" if quotient >= 0.01 else f"{quotient:.1g}x"


def render(scenario, step, cells, floor):
    """The table of one step. `cells` by variant name; `floor` by figure, empty when there is none."""
    ours = next((cells[name] for name in OURS if name in cells), None)
    columns = ["", "durability"]
    for figure in scenario.figures:
        columns += [heading(figure), *(["/floor"] if figure in floor else []), "/ours"]
    rows = [columns, ["---"] * len(columns)]
    if floor:
        row = ["**the machine's floor**", peers.DISK]
        for figure in scenario.figures:
            row += [shown(figure, floor.get(figure)), *(["1x"] if figure in floor else []), ratio(floor.get(figure), ours and ours.median(figure))]
        rows.append(row)
    notes = []
    for variant in scenario.variants:
        cell = cells.get(variant.name)
        if cell is None:
            continue
        mark = ""
        if cell.invalid:
            notes.append(f"`{variant.name}`: " + "; ".join(sorted(set(cell.invalid))))
            mark = " (!)"
        row = [variant.name + mark, variant.durability]
        for figure in scenario.figures:
            value = cell.median(figure)
            row.append(shown(figure, value))
            if figure in floor:
                row.append(ratio(value, floor[figure]))
            row.append(ratio(value, ours and ours.median(figure)))
        rows.append(row)
    lines = []
    if step.name:
        lines += [f"**{step.name}**", ""]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    if notes:
        lines += ["", "(!) not to be trusted, by the generator's own verdict:", *(f"- {note}" for note in notes)]
    return "\n".join(lines) + "\n"
