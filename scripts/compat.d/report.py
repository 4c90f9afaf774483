"""Tables of what came of the suites, for people, for programs, and for the README."""

import collections
import json
import sys
import time

import exclusions
from suite import FAILED, PASSED, SKIPPED, Result

COLUMNS = ("suite", "version", "run", "passed", "failed", "excluded", "skipped", "seconds")


class Verdict:
    """What one suite did. An excluded test that fails is `excluded`; one that passes is passed, and `redeemed`."""

    def __init__(self, suite):
        self.suite = suite
        self.results = []
        self.excluded = []
        self.redeemed = []
        self.unavailable = None
        self.seconds = 0.0

    def add(self, result, entry):
        if entry and result.outcome == FAILED:
            self.excluded.append((result, entry))
            return
        if entry and result.outcome == PASSED:
            self.redeemed.append(result.name)
        self.results.append(result)

    def add_never_run(self, name, entry):
        self.excluded.append((Result(name, FAILED, 0.0, "not run"), entry))

    def count(self, outcome):
        return sum(result.outcome == outcome for result in self.results)

    def holds(self):
        return self.count(FAILED) == 0

    def row(self):
        ran = self.count(PASSED) + self.count(FAILED) + sum(entry.run for _, entry in self.excluded)
        return {
            "suite": self.suite.name,
            "version": self.suite.version,
            "run": ran,
            "passed": self.count(PASSED),
            "failed": self.count(FAILED),
            "excluded": len(self.excluded),
            "skipped": self.count(SKIPPED),
            "seconds": round(self.seconds),
        }

    def as_json(self):
        return {
            **self.row(),
            "title": self.suite.title,
            "unavailable": self.unavailable,
            "redeemed": self.redeemed,
            "causes": dict(collections.Counter(entry.cause for _, entry in self.excluded)),
            "excluded_tests": [{"name": result.name, "cause": entry.cause} for result, entry in self.excluded],
            "failures": [{"name": r.name, "message": r.message} for r in self.results if r.outcome == FAILED],
            "date": time.strftime("%Y-%m-%d"),
        }


def case(result):
    print(f"   {result.outcome:<7} {result.name} ({result.seconds:.1f} s) {result.message}", flush=True)


def progress(verdict):
    if verdict.unavailable:
        print(f"   SKIPPED: {verdict.unavailable}", file=sys.stderr, flush=True)
        return
    row = verdict.row()
    print(
        f"   {row['passed']} passed, {row['failed']} failed, {row['excluded']} excluded, {row['skipped']} skipped"
        f" in {row['seconds']} s", flush=True,
    )


def text(verdicts):
    """The table, then what needs somebody's attention."""
    rows = [COLUMNS] + [tuple(str(verdict.row()[column]) for column in COLUMNS) for verdict in verdicts]
    widths = [max(len(row[at]) for row in rows) for at in range(len(COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    for verdict in verdicts:
        name = verdict.suite.name
        if verdict.unavailable:
            lines.append(f"{name}: NOT RUN: {verdict.unavailable}")
        causes = collections.Counter(entry.cause for _, entry in verdict.excluded)
        if causes:
            lines.append(f"{name}: excluded: {told(causes)}")
        lines += [f"{name}: {test} is excluded and passes: take it off the list" for test in verdict.redeemed]
        lines += [f"{name}: {r.name} FAILED: {r.message}" for r in verdict.results if r.outcome == FAILED]
    return "\n".join(lines)


def told(causes):
    return ", ".join(f"{count} {cause}" for cause, count in sorted(causes.items()))


def file_of(place, kind, suite):
    return place.home / "results" / kind / f"{suite}.json"


def save(place, kind, verdict):
    file = file_of(place, kind, verdict.suite.name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(verdict.as_json(), indent=1) + "\n")


def load(place, kind):
    import suites

    files = [file_of(place, kind, suite.name) for suite in suites.ALL]
    return [json.loads(file.read_text()) for file in files if file.exists()]


def markdown(saved):
    """The README's table, from results that were kept."""
    lines = [
        "| suite | version | tests run | passed | failed | excluded |",
        "|---|---|---|---|---|---|",
    ]
    for row in saved:
        if row["unavailable"]:
            continue
        excluded = f"{row['excluded']}: {told(row['causes'])}" if row["excluded"] else "0"
        lines.append(
            f"| {row['title']} | {row['version']} | {row['run']} | {row['passed']} | {row['failed']} | {excluded} |"
        )
    total = {key: sum(row[key] for row in saved) for key in ("run", "passed", "failed", "excluded")}
    lines.append(f"| **together** | | {total['run']} | {total['passed']} | {total['failed']} | {total['excluded']} |")
    causes = sorted({cause for row in saved for cause in row["causes"]})
    lines += [""] + [f"- *{cause}*: {exclusions.CAUSES[cause]}." for cause in causes]
    return "\n".join(lines)
