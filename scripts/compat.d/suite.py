"""What a suite is, and the two ways to run one under a watchdog.

A suite is prepared (fetched and built, once), names its tests, and runs some of them against an address. Every test has a
time limit of its own, and so has the suite; what takes longer is killed with everything it started, counted as failed,
and the rest goes on without it.

`Streamed` runs one process for many tests and follows its output: a test that hangs costs its process, and a new one is
started for the tests behind it. `Single` runs a process for each test.
"""

import collections
import dataclasses
import re
import subprocess
import time

import supervise

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
# How often output and limits are looked at.
TICK_SECONDS = 0.05
MESSAGE_CHARS = 400

Event = collections.namedtuple("Event", "kind name message")
"""`kind` is "run" when a test begins, or one of the outcomes when it ended."""


@dataclasses.dataclass
class Result:
    name: str
    outcome: str
    seconds: float
    message: str = ""


class Unavailable(Exception):
    """The suite cannot run here because a toolchain is not installed. Anything else that is missing is a failure."""


class Suite:
    name = ""
    title = ""
    # What the table calls it, with the version that is pinned.
    version = ""
    # Whether it belongs to the small set, and the tests that are too slow for that.
    ci = False
    slow = ()
    # Partitions of a topic that is made on first use.
    partitions = 4
    # Settings that the suite's authors gave to their broker: Kafka's names and values.
    kafka_settings = {}
    # The same in Corelog's words.
    corelog_settings = {}
    # Whether the suite cannot bear that each core is a broker of its own.
    one_broker = False
    case_seconds = 60
    suite_seconds = 900

    def prepare(self, place):
        """Fetches and builds what the suite needs, unless that is done."""

    def cases(self, place):
        raise NotImplementedError

    def run(self, names, address, directory, place):
        raise NotImplementedError


class Streamed(Suite):
    """One process for many tests, which says what it does, line by line."""

    def command(self, names, address, place):
        """Arguments, environment and directory of the process that runs the tests `names`."""
        raise NotImplementedError

    def event(self, line):
        return harness_event(line)

    def run(self, names, address, directory, place):
        remaining = list(names)
        deadline = time.monotonic() + self.suite_seconds
        attempt = 0
        while remaining:
            attempt += 1
            log = directory / f"output-{attempt}.log"
            done = yield from self._follow(remaining, address, place, log, deadline)
            remaining = [name for name in remaining if name not in done]
            if not done:
                for name in remaining:
                    yield Result(name, FAILED, 0.0, f"the program did not say anything of it: {tail_line(log)}")
                return

    def _follow(self, names, address, place, log, deadline):
        """Runs one process and yields what it says; returns the tests that are settled."""
        arguments, environment, cwd = self.command(names, address, place)
        process = supervise.start(arguments, log, environment, cwd)
        wanted, done = set(names), set()
        current, began, position, rest = None, time.monotonic(), 0, b""
        try:
            while True:
                ended = process.poll() is not None
                with open(log, "rb") as output:
                    output.seek(position)
                    fresh = output.read()
                position += len(fresh)
                *lines, rest = (rest + fresh).split(b"\n")
                for line in lines:
                    event = self.event(line.decode(errors="replace"))
                    if event is None or event.name not in wanted or event.name in done:
                        continue
                    if event.kind == "run":
                        current, began = event.name, time.monotonic()
                        continue
                    done.add(event.name)
                    yield Result(event.name, event.kind, time.monotonic() - began, event.message[:MESSAGE_CHARS])
                    current, began = None, time.monotonic()
                if ended and not fresh:
                    if current:
                        done.add(current)
                        yield Result(current, FAILED, time.monotonic() - began, f"the program ended: {tail_line(log)}")
                    return done
                now = time.monotonic()
                if now > deadline or now - began > self.case_seconds:
                    # Without a test under way it hangs before the first or behind the last one that it told of.
                    culprit = current or next((name for name in names if name not in done), None)
                    if culprit:
                        done.add(culprit)
                        yield Result(culprit, FAILED, now - began, f"not done after {now - began:.0f} s")
                    if now > deadline:
                        for name in names:
                            if name not in done:
                                done.add(name)
                                yield Result(name, FAILED, 0.0, f"the suite took more than {self.suite_seconds} s")
                    return done
                if not fresh:
                    time.sleep(TICK_SECONDS)
        finally:
            supervise.stop(process, gentle_seconds=0)


class Single(Suite):
    """A process for each test; its exit status is the verdict."""

    def command(self, name, address, place):
        raise NotImplementedError

    def run(self, names, address, directory, place):
        deadline = time.monotonic() + self.suite_seconds
        for name in names:
            log = directory / (re.sub(r"[^A-Za-z0-9_.-]", "_", name) + ".log")
            began = time.monotonic()
            limit = min(self.case_seconds, deadline - began)
            if limit <= 0:
                yield Result(name, FAILED, 0.0, f"the suite took more than {self.suite_seconds} s")
                continue
            arguments, environment, cwd = self.command(name, address, place)
            process = supervise.start(arguments, log, environment, cwd)
            try:
                code = process.wait(limit)
                outcome, message = (PASSED, "") if code == 0 else (FAILED, self.reason(log))
            except subprocess.TimeoutExpired:
                outcome, message = FAILED, f"not done after {limit:.0f} s"
            finally:
                supervise.stop(process, gentle_seconds=0)
            yield Result(name, outcome, time.monotonic() - began, message[:MESSAGE_CHARS])

    def reason(self, log):
        return tail_line(log)


def harness_event(line):
    """What programs of ours print: `@run NAME`, then `@passed NAME`, `@failed NAME why` or `@skipped NAME why`."""
    if not line.startswith("@"):
        return None
    kind, _, rest = line[1:].partition(" ")
    name, _, message = rest.partition(" ")
    return Event(kind, name.strip(), message.strip()) if kind in ("run", PASSED, FAILED, SKIPPED) else None


def tail_line(log):
    lines = [line for line in supervise.tail(log).splitlines() if line.strip() and not line.startswith("@")]
    return lines[-1].strip() if lines else "(no output)"
