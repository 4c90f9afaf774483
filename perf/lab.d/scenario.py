"""Scenario files: what is done to every broker, and what is looked at.

A scenario is one start of a broker and a list of steps. A step is one run of the generator; its arguments are the
scenario's, overridden by the step's own, overridden (in a quick run) by the scenario's `[quick]`. Everything is checked
before anything is started: an unknown word is a mistake, not a default.
"""

import dataclasses
import re
import tomllib

import peers
import supervise

KINDS = ("produce", "consume", "e2e")
# What the generator is told, by its own names with `_` for `-`.
ARGUMENTS = {
    "rate", "size", "partitions", "producers", "consumers", "fanout", "duration", "warmup", "acks", "keys", "linger",
    "batch_bytes", "in_flight", "threads", "topic", "arrival",
}
FLOORS = ("one-in-flight", "ingest")
SCENARIO_WORDS = {"title", "tells", "figures", "floor", "peers", "kind", "arguments", "quick", "step", "skip", "settings"}
STEP_WORDS = {"name", "kind", "arguments", "quick", "measured", "beside", "cold", "settings", "in_quick"}
FIGURE = re.compile(r"rate|megabytes|cpu|received|(response|service|delay|e2e)\.(mean|p50|p90|p99|p999|max)")


@dataclasses.dataclass
class Run:
    """One run of the generator."""

    kind: str
    arguments: dict


@dataclasses.dataclass
class Step:
    """One thing done to a broker."""

    # Empty when the scenario has only this one to show.
    name: str
    run: Run
    # Whether its result is kept; filling a topic is not measured.
    measured: bool
    # Runs beside it, begun first, again and again, and ended with it.
    beside: Run | None
    # Whether what the broker has written so far is evicted from the page cache before.
    cold: bool
    settings: dict


@dataclasses.dataclass
class Scenario:
    """One file."""

    name: str
    title: str
    tells: str
    figures: list
    floor: str | None
    variants: list
    # Names of variants left out, and why.
    skipped: dict
    steps: list


def load(path, quick):
    """The scenario in the file `path`."""
    try:
        with open(path, "rb") as file:
            return parse(path.stem, tomllib.load(file), quick)
    except (tomllib.TOMLDecodeError, KeyError, ValueError, TypeError) as error:
        raise supervise.Failed(f"{path.name}: {error!r}") from None


def parse(name, file, quick):
    known(file, SCENARIO_WORDS, "scenario")
    for figure in file["figures"]:
        if not FIGURE.fullmatch(figure):
            raise ValueError(f"no figure {figure}")
    if file.get("floor") not in (None, *FLOORS):
        raise ValueError(f"no floor {file['floor']}")
    return Scenario(
        name=name,
        title=file["title"],
        tells=file["tells"].strip(),
        figures=file["figures"],
        floor=file.get("floor"),
        variants=variants(file),
        skipped=dict(file.get("skip", {})),
        steps=[step(file, words, quick) for words in file.get("step", [{}]) if words.get("in_quick", True) or not quick],
    )


def variants(file):
    names = [variant.name for variant in peers.VARIANTS]
    for name in [*file.get("peers", []), *file.get("skip", {})]:
        if name not in names:
            raise ValueError(f"no peer {name}")
    wanted = file.get("peers", names)
    return [variant for variant in peers.VARIANTS if variant.name in wanted and variant.name not in file.get("skip", {})]


def step(file, words, quick):
    known(words, STEP_WORDS, "step")
    beside = words.get("beside")
    if beside is not None:
        known(beside, {"kind", "arguments"}, "beside")
        beside = Run(kind_of(beside), arguments({}, beside, False))
    return Step(
        name=words.get("name", ""),
        run=Run(kind_of({"kind": file["kind"], **words}), arguments(file, words, quick)),
        measured=words.get("measured", True),
        beside=beside,
        cold=words.get("cold", False),
        settings={
            family: {**file.get("settings", {}).get(family, {}), **words.get("settings", {}).get(family, {})}
            for family in {*file.get("settings", {}), *words.get("settings", {})}
        },
    )


def kind_of(words):
    if words["kind"] not in KINDS:
        raise ValueError(f"no kind {words['kind']}")
    return words["kind"]


def arguments(file, words, quick):
    layers = [file.get("arguments", {}), words.get("arguments", {})]
    if quick:
        layers += [file.get("quick", {}), words.get("quick", {})]
    merged = {}
    for layer in layers:
        known(layer, ARGUMENTS, "arguments")
        merged.update(layer)
    return merged


def known(words, all_words, where):
    unknown = set(words) - set(all_words)
    if unknown:
        raise ValueError(f"{where}: unknown {', '.join(sorted(unknown))}")
