"""The runner: floor, scenarios, repeats, tables.

For each repeat of a scenario every variant takes its turn, in an order that changes with the repeat, so that what a busy
neighbour does to the machine falls on all of them. Each turn is a fresh data directory, a fresh server, the scenario's
steps, and the end of the server. What cannot be had or does not start is said loudly, here and in the tables.
"""

import argparse
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import time
import types

import generator
import goals
import peers
import scenario as scenarios
import supervise
import table
from peers import corelog

ROOT = pathlib.Path(__file__).resolve().parents[2]
# A run may write this much and a little more; less free space and nothing is started.
FREE_BYTES_MIN = 6 << 30
# Two thousand connections on either side, and files.
OPEN_FILES = 65536
REPEATS = 3


def main(arguments):
    options = parse(arguments)
    if options.list:
        return show_list()
    supervise.take_charge()
    raise_open_files()
    # Paths first: a mistake in a file should not wait for a build.
    chosen = [scenarios.load(path, options.quick) for path in scenario_files(options.scenario)]
    out = pathlib.Path(options.out).resolve()
    if out.exists() and any(out.iterdir()):
        print(f"error: {out} is not empty", file=sys.stderr)
        return 2
    out.mkdir(parents=True, exist_ok=True)
    place = types.SimpleNamespace(root=ROOT, peers=ROOT / "target" / "peers", skip_build=options.no_build)
    place.peers.mkdir(parents=True, exist_ok=True)
    try:
        laboratory = Laboratory(options, place, out, chosen)
        laboratory.run()
    except supervise.Failed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def parse(arguments):
    names = [variant.name for variant in peers.VARIANTS]
    parser = argparse.ArgumentParser(prog="perf/lab", description=__doc__.splitlines()[0])
    parser.add_argument("--scenario", action="append", help="only this one; may be given many times")
    parser.add_argument("--peer", action="append", choices=names, help="only this one, with corelog-native to compare")
    parser.add_argument("--repeat", type=int, help=f"repeats of each scenario (default {REPEATS}, quick 1)")
    parser.add_argument("--quick", action="store_true", help="short runs: to see that it works, not to quote")
    parser.add_argument("--out", default=str(ROOT / "target" / "lab" / time.strftime("%Y%m%d-%H%M%S")),
                        help="an empty directory for results")
    parser.add_argument("--no-build", action="store_true", help="use target/release/corelog as it is")
    parser.add_argument("--list", action="store_true", help="scenarios and peers, and nothing is run")
    options = parser.parse_args(arguments)
    options.repeat = options.repeat or (1 if options.quick else REPEATS)
    return options


def scenario_files(wanted):
    files = sorted((ROOT / "perf" / "scenarios").glob("*.toml"))
    if not wanted:
        return files
    by_name = {path.stem: path for path in files}
    missing = [name for name in wanted if name not in by_name]
    if missing:
        raise SystemExit(f"error: no scenario {', '.join(missing)}; there are {', '.join(by_name)}")
    return [by_name[name] for name in wanted]


def show_list():
    for path in scenario_files(None):
        one = scenarios.load(path, False)
        print(f"{one.name:18} {one.title} ({', '.join(variant.name for variant in one.variants)})")
    print()
    for variant in peers.VARIANTS:
        print(f"{variant.name:24} {variant.durability}: {variant.how}")
    return 0


def raise_open_files():
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Laboratory:
    """One session of it."""

    def __init__(self, options, place, out, chosen):
        self.options = options
        self.place = place
        self.out = out
        self.scenarios = chosen
        self.scratch = ROOT / "target" / "lab-scratch" / str(os.getpid())
        # By (scenario, step, variant).
        self.cells = {}
        self.versions = {}
        # Why a broker, and why a variant by name, cannot take part.
        self.missing = {}
        self.unspoken = {}
        self.failures = []
        self.floor = {}
        self.started = time.monotonic()

    def run(self):
        binary = corelog.obtain(self.place)
        self.obtain_peers()
        self.say("measuring the machine's floor")
        self.floor = generator.floor(binary, self.scratch, self.out / "floor", self.options.quick)
        try:
            for one in self.scenarios:
                for repeat in range(self.options.repeat):
                    self.repeat(one, repeat)
                print(self.tables(one), flush=True)
        finally:
            shutil.rmtree(self.scratch, ignore_errors=True)
            self.write()

    def obtain_peers(self):
        wanted = {variant.broker for one in self.scenarios for variant in self.variants(one)}
        for variant in peers.VARIANTS:
            broker = variant.broker
            if broker not in wanted or broker is corelog or broker in self.versions or broker in self.missing:
                continue
            try:
                broker.obtain(self.place)
                self.versions[broker] = broker.version()
            except (supervise.Failed, OSError, subprocess.CalledProcessError) as error:
                self.missing[broker] = str(error)
                print(f"\n*** SKIPPED: {short(broker)} cannot be had here: {error} ***\n", file=sys.stderr, flush=True)
        self.versions[corelog] = corelog.version()
        for variant in {variant.name: variant for one in self.scenarios for variant in self.variants(one)}.values():
            why = corelog.lacks(variant.protocol)
            if why is not None:
                self.unspoken[variant.name] = f"protocol {variant.protocol}: {why}"
                print(f"\n*** SKIPPED: {variant.name}: {self.unspoken[variant.name]} ***\n", file=sys.stderr, flush=True)

    def variants(self, one):
        wanted = self.options.peer
        return [variant for variant in one.variants
                if wanted is None or variant.name in wanted or variant.name == table.OURS[0]]

    def absence(self, variant):
        """Why a variant takes no part, or None."""
        if variant.broker in self.missing:
            return f"it cannot be had here, {self.missing[variant.broker].splitlines()[0]}"
        return self.unspoken.get(variant.name)

    def repeat(self, one, repeat):
        variants = [variant for variant in self.variants(one) if self.absence(variant) is None]
        if not variants:
            return
        # The next repeat begins with somebody else, and goes the other way round.
        turn = repeat % len(variants)
        order = variants[turn:] + variants[:turn]
        for variant in order if repeat % 2 == 0 else reversed(order):
            self.turn(one, repeat, variant)

    def turn(self, one, repeat, variant):
        free = shutil.disk_usage(ROOT).free
        if free < FREE_BYTES_MIN:
            raise supervise.Failed(f"only {free >> 30} GiB are free on the disk")
        directory = self.scratch / "broker"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        running = None
        try:
            running = variant.broker.start(directory, variant.options)
            self.warm(one, variant, running, directory)
            for number, step in enumerate(one.steps):
                self.step(one, repeat, variant, running, directory, number, step)
        except supervise.Failed as error:
            failure = f"{one.name}, {variant.name}: {str(error).strip()}"
            self.failures.append(failure)
            print(f"\n*** FAILED: {failure} ***\n", file=sys.stderr, flush=True)
        finally:
            if running is not None:
                running.stop()
            shutil.rmtree(directory, ignore_errors=True)

    def warm(self, one, variant, running, directory):
        """A broker that compiles itself while it runs gets time for that, unmeasured."""
        seconds = getattr(variant.broker, "WARM_SECONDS", 0)
        if seconds == 0:
            return
        seconds = seconds / 2 if self.options.quick else seconds
        step = next(step for step in one.steps if step.measured)
        run = scenarios.Run("produce", {
            **step.run.arguments, "rate": "max", "in_flight": 4, "duration": f"{round(seconds * 1000)}ms", "warmup": "0s",
        })
        for word in ("topic", "consumers", "fanout"):
            run.arguments.pop(word, None)
        warm = scenarios.Step("", run, False, None, False, {})
        generator.measure(corelog.binary(), warm, variant, running, directory / "warm", "warm")

    def step(self, one, repeat, variant, running, directory, number, step):
        name = " ".join(filter(None, [one.name, step.name, variant.name]))
        self.say(f"{name}, repeat {repeat + 1} of {self.options.repeat}")
        if step.cold:
            evict(directory)
        kept = self.out / one.name / f"{number}-{variant.name}-{repeat + 1}"
        result = generator.measure(corelog.binary(), step, variant, running, kept, name)
        if not step.measured:
            return
        figures = {figure: generator.figure(result, figure) for figure in one.figures}
        cell = self.cells.setdefault((one.name, number, variant.name), table.Cell())
        cell.add(figures, result["verdict"]["invalid"])
        self.record(one, repeat, variant, step, result, figures)

    def record(self, one, repeat, variant, step, result, figures):
        """One line for whoever compares commits."""
        figure = one.figures[0]
        value = figures[figure]
        floor = generator.floor_figures(self.floor, one.floor, step.run.arguments["size"]).get(figure)
        line = {
            "figure": " ".join(filter(None, ["lab", one.name, step.name, variant.name])) + f": {table.heading(figure)}",
            "value": value,
            "unit": "us" if "." in figure else table.UNITS[figure],
            "floor": floor,
            "ratio": value / floor if value is not None and floor else None,
            "commit": commit(),
            "cores": os.cpu_count(),
            "kernel": os.uname().release,
            "durability": variant.durability,
            "unix_ms": generator.now_ms(),
            "verdict": "; ".join(result["verdict"]["invalid"]),
            "note": "quick" if self.options.quick else "",
            "lab": {
                "scenario": one.name, "step": step.name, "variant": variant.name, "repeat": repeat + 1,
                "version": self.versions[variant.broker], "figures": figures, "host": generator.host(result),
            },
        }
        text = json.dumps(line, sort_keys=True) + "\n"
        for file in (self.out / "results.jsonl", ROOT / "perf" / "results.jsonl"):
            with open(file, "a", encoding="utf-8") as lines:
                lines.write(text)

    def tables(self, one):
        lines = [f"## {one.title}", "", one.tells, ""]
        for number, step in enumerate(one.steps):
            if not step.measured:
                continue
            cells = {variant.name: cell for variant in self.variants(one)
                     if (cell := self.cells.get((one.name, number, variant.name))) is not None}
            floor = generator.floor_figures(self.floor, one.floor, step.run.arguments["size"])
            floor = {figure: floor[figure] for figure in one.figures if figure in floor}
            lines.append(table.render(one, step, cells, floor))
        left_out = [f"- `{name}` is left out: {why}." for name, why in one.skipped.items()]
        left_out += [f"- `{variant.name}` is SKIPPED: {why}." for variant in self.variants(one)
                     if (why := self.absence(variant)) is not None]
        return "\n".join(lines + left_out) + "\n"

    def write(self):
        kind = "a quick look, not to be quoted" if self.options.quick else f"medians of {self.options.repeat} repeats"
        lines = [
            "# Results of the laboratory", "",
            f"Commit {commit()}, {os.cpu_count()} cores shared by broker and generator, kernel {os.uname().release}; {kind}. "
            "`/floor` is the ratio to the machine's floor of the same run, `/ours` that to `corelog-native` "
            "(or to `corelog-kafka` where that is not there). perf/README.md says how to read this.", "",
        ]
        lines += [f"- {short(broker)}: {version}" for broker, version in self.versions.items()]
        lines += [f"- **{short(broker)}: SKIPPED**, {why.splitlines()[0]}" for broker, why in self.missing.items()]
        lines.append("")
        for one in self.scenarios:
            lines.append(self.tables(one))
        lines.append(goals.render(self.cells, self.scenarios, self.floor))
        if self.failures:
            lines += ["## What failed", "", *(f"- {failure.splitlines()[0]}" for failure in self.failures), ""]
        text = "\n".join(lines)
        (self.out / "RESULTS.md").write_text(text, encoding="utf-8")
        minutes = (time.monotonic() - self.started) / 60
        print(f"{minutes:.1f} minutes; results are in {self.out}", flush=True)

    def say(self, text):
        print(f"[{time.monotonic() - self.started:6.0f} s] {text}", flush=True)


def evict(directory):
    """Lets the kernel forget the broker's files, so that reading them is reading the disk."""
    for path in directory.rglob("*"):
        if not path.is_file():
            continue
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)


def short(broker):
    return broker.__name__.rpartition(".")[2]


def commit():
    def git(*arguments):
        answer = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
        return answer.stdout.strip()

    dirty = "-dirty" if git("status", "--porcelain", "--untracked-files=no", "--", "src", "Cargo.toml") else ""
    return (git("rev-parse", "--short", "HEAD") or "unknown") + dirty
