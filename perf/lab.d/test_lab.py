"""Tests of the laboratory itself: `python3 -m unittest discover perf/lab.d`. They start nothing but short-lived shells."""

import os
import pathlib
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import generator
import goals
import peers
import scenario as scenarios
import supervise
import table

SCENARIOS = sorted((pathlib.Path(__file__).resolve().parents[1] / "scenarios").glob("*.toml"))


def one_step(**words):
    file = {"title": "t", "tells": "t", "figures": ["rate", "service.p99"], "kind": "produce",
            "arguments": {"size": 100, "rate": "max"}, "quick": {"rate": "1"}, **words}
    return scenarios.parse("one", file, False)


class Scenarios(unittest.TestCase):
    def test_every_file_is_understood_and_has_what_a_run_needs(self):
        self.assertGreaterEqual(len(SCENARIOS), 10)
        for path in SCENARIOS:
            for quick in (False, True):
                one = scenarios.load(path, quick)
                for step in one.steps:
                    self.assertLessEqual({"size", "rate", "duration", "partitions"}, set(step.run.arguments), path.stem)
                    self.assertGreater(generator.seconds_of(step.run.arguments["duration"]), 0)

    def test_unknown_words_are_refused(self):
        for words in ({"figure": []}, {"figures": ["p99"]}, {"peers": ["nobody"]}, {"skip": {"nobody": ""}},
                      {"floor": "sea"}, {"kind": "guess"}, {"step": [{"arguments": {"sizes": 1}}]}):
            with self.assertRaises((ValueError, KeyError), msg=str(words)):
                one_step(**words)

    def test_a_step_overrides_the_scenario_and_quick_overrides_both(self):
        step = [{"name": "s", "arguments": {"rate": "5"}}, {"name": "slow", "in_quick": False}]
        self.assertEqual(one_step(step=step).steps[0].run.arguments, {"size": 100, "rate": "5"})
        quick = scenarios.parse("one", {"title": "t", "tells": "t", "figures": [], "kind": "produce", "step": step,
                                        "arguments": {"size": 1}, "quick": {"rate": "1"}}, True)
        self.assertEqual([step.name for step in quick.steps], ["s"])
        self.assertEqual(quick.steps[0].run.arguments["rate"], "1")


class Tables(unittest.TestCase):
    def cells(self):
        cells = {}
        for name, rates in (("corelog-native", [100, 300, 200]), ("kafka", [50, 40, 1000])):
            cells[name] = table.Cell()
            for rate in rates:
                cells[name].add({"rate": rate, "service.p99": None}, ["late sends"] if rate == 40 else [])
        return cells

    def test_rows_are_medians_with_ratios_and_doubts_are_marked(self):
        one = one_step()
        text = table.render(one, one.steps[0], self.cells(), {"rate": 400})
        rows = text.splitlines()
        self.assertIn("the machine's floor", rows[2])
        self.assertIn("| corelog-native | on disk before the ack | 200 | 0.5x | 1x | - | - |", text)
        self.assertIn("| kafka (!) | in memory at the ack | 50 | 0.12x | 0.25x | - | - |", text)
        self.assertIn("- `kafka`: late sends", text)

    def test_goals_are_judged_only_from_what_was_measured_and_valid(self):
        one = scenarios.load(next(path for path in SCENARIOS if path.stem == "ingest"), True)
        ours, theirs = table.Cell(), table.Cell()
        ours.add({"megabytes": 100.0}, [])
        theirs.add({"megabytes": 5.0}, [])
        cells = {("ingest", 0, "corelog-kafka"): ours, ("ingest", 0, "kafka-flush"): theirs}
        line = next(line for line in goals.render(cells, [one], {"durable": [{"bytes_per_second": 1e8}], "receive": [
            {"what": "receive+crc32c+copy", "bytes_per_cpu_second": 1e9}]}).splitlines() if "10 times Kafka" in line)
        self.assertIn("| 20 | reached |", line)
        theirs.add({"megabytes": 5.0}, ["lost"])
        line = next(line for line in goals.render(cells, [], {}).splitlines() if "10 times Kafka" in line)
        self.assertIn("not measured", line)

    def test_names_of_variants_are_unique(self):
        names = [variant.name for variant in peers.VARIANTS]
        self.assertEqual(len(names), len(set(names)))


class Supervision(unittest.TestCase):
    def test_what_a_process_started_ends_with_it(self):
        with tempfile.TemporaryDirectory() as directory:
            log = pathlib.Path(directory) / "log"
            # The grandchild leaves its parent's group, and does not end when asked.
            process = supervise.start(
                ["sh", "-c", "setsid sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1; done' & wait"], log
            )
            while not log.read_text().strip():
                time.sleep(0.01)
            grandchild = int(log.read_text())
            supervise.stop(process, gentle_seconds=1)
            self.assertFalse(alive(grandchild))

    def test_a_command_that_takes_too_long_fails(self):
        with tempfile.TemporaryDirectory() as directory:
            with self.assertRaises(supervise.Failed):
                supervise.run(["sleep", "60"], pathlib.Path(directory) / "log", 0.1)


def alive(pid):
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


if __name__ == "__main__":
    supervise.take_charge()
    unittest.main()
