"""Runs suites one after another and says what came of them.

One suite at a time, each against a broker of its own with an empty data directory; nothing is shared between suites,
so an order or a selection of them changes no result.
"""

import argparse
import fnmatch
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import brokers
import exclusions
import report
import suites
import supervise
from suite import FAILED, Result, Unavailable

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


class Place:
    """Where things are. Everything that is fetched, built or written goes below `home`, and can be deleted with it."""

    def __init__(self, options):
        self.root = ROOT
        self.target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
        self.home = self.target / "compat"
        self.peers = self.target / "peers"
        self.programs = ROOT / "scripts" / "compat.d" / "programs"
        self.first_port = options.first_port
        self.options = options
        self.home.mkdir(parents=True, exist_ok=True)


def main(arguments):
    options = parse(arguments)
    place = Place(options)
    chosen = choose(options)
    if options.list:
        return show(chosen)
    if options.markdown:
        print(report.markdown(report.load(place, broker_kind(options))))
        return 0
    supervise.take_charge()
    broker = brokers.maker(place, options)
    if not obtain(broker, place):
        return 1
    verdicts = []
    for suite in chosen:
        verdict = judge(suite, broker, place, options)
        verdicts.append(verdict)
        report.progress(verdict)
        if not (options.case or options.ci):
            report.save(place, broker_kind(options), verdict)
    print()
    print(json.dumps([verdict.as_json() for verdict in verdicts], indent=1) if options.json else report.text(verdicts))
    return 0 if all(verdict.holds() for verdict in verdicts) else 1


def parse(arguments):
    parser = argparse.ArgumentParser(prog="scripts/compat", description=__doc__.split("\n")[0])
    parser.add_argument("--only", metavar="SUITES", help="names of suites, separated by commas; * and ? match")
    parser.add_argument("--case", metavar="PATTERN", help="only the tests that match; results are not kept")
    parser.add_argument("--ci", action="store_true", help="the small set")
    parser.add_argument("--list", action="store_true", help="names the suites and ends")
    parser.add_argument("--markdown", action="store_true", help="prints the table of the last results and ends")
    parser.add_argument("--json", action="store_true", help="prints results for programs instead of the table")
    parser.add_argument("--broker", choices=("corelog", "kafka"), default="corelog", help="what is started")
    parser.add_argument("--bootstrap", metavar="HOST:PORT", help="starts nothing and uses this broker")
    parser.add_argument("--binary", metavar="FILE", help="the corelog to run; else $CORELOG, else the newest build")
    parser.add_argument("--shards", type=int, default=2, help="cores of the broker")
    parser.add_argument("--advertise", choices=("per-core", "single"), default="per-core")
    parser.add_argument("--first-port", type=int, default=23000, help="ports are looked for from here on")
    parser.add_argument("--verbose", action="store_true", help="one line per test")
    return parser.parse_args(arguments)


def broker_kind(options):
    return "other" if options.bootstrap else options.broker


def choose(options):
    wanted = options.only.split(",") if options.only else None
    chosen = [
        suite
        for suite in suites.ALL
        if (wanted is None or any(fnmatch.fnmatch(suite.name, pattern) for pattern in wanted))
        and (suite.ci or not options.ci)
    ]
    if not chosen:
        raise SystemExit(f"no suite is called {options.only}; --list names them")
    return chosen


def show(chosen):
    for suite in chosen:
        print(f"{suite.name:<20} {'ci ' if suite.ci else '   '} {suite.title}")
    return 0


def obtain(broker, place):
    try:
        broker.obtain(place)
    except (supervise.Failed, subprocess.CalledProcessError) as why:
        print(f"compat: no broker: {why}", file=sys.stderr)
        return False
    return True


def judge(suite, broker, place, options):
    """Prepares one suite, runs it and sorts its results."""
    verdict = report.Verdict(suite)
    started = time.monotonic()
    print(f"== {suite.title}", flush=True)
    directory = place.home / "run" / suite.name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    try:
        suite.prepare(place)
    except Unavailable as why:
        verdict.unavailable = str(why)
        return verdict
    except (supervise.Failed, subprocess.CalledProcessError, OSError) as why:
        # A client that cannot be had is no better than one that fails.
        verdict.add(Result("preparation", FAILED, 0.0, str(why)), None)
        return verdict
    excused = exclusions.load(suite.name)
    try:
        running = broker.start(directory, suite)
    except supervise.Failed as why:
        verdict.add(Result("broker starts", FAILED, 0.0, str(why)), None)
        return verdict
    try:
        names = [name for name in suite.cases(place) if fnmatch.fnmatch(name, options.case or "*")]
        names = [name for name in names if not (options.ci and name in suite.slow)]
        never = [name for name in names if (entry := excused.entry(name)) and not entry.run]
        for name in never:
            verdict.add_never_run(name, excused.entry(name))
        for result in suite.run([name for name in names if name not in never], running.address, directory, place):
            entry = excused.entry(result.name)
            verdict.add(result, entry)
            if options.verbose or (result.outcome == FAILED and entry is None):
                report.case(result)
    except (supervise.Failed, subprocess.CalledProcessError) as why:
        verdict.add(Result("suite runs", FAILED, 0.0, str(why)), None)
    finally:
        trouble = running.trouble()
        running.stop()
    if trouble:
        verdict.add(Result("broker stays healthy", FAILED, 0.0, trouble), None)
    # Logs stay; data of a run that nobody will look at does not.
    shutil.rmtree(directory / "data", ignore_errors=True)
    verdict.seconds = time.monotonic() - started
    return verdict
