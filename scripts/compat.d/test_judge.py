"""What the judge promises, shown on made-up programs. Run it: `python3 scripts/compat.d/test_judge.py`."""

import pathlib
import sys
import tempfile
import types
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent / "perf" / "lab.d")]

import exclusions  # noqa: E402
import report  # noqa: E402
from suite import FAILED, PASSED, SKIPPED, Result, Single, Streamed  # noqa: E402

# Says what it does as the programs here do; the case `hang` never ends, `die` ends the process.
PROGRAM = """
import os, sys, time
for name in sys.argv[1].split(","):
    print("@run", name, flush=True)
    if name == "hang": time.sleep(600)
    if name == "die": os._exit(3)
    print({"bad": "@failed bad because", "not": "@skipped not today"}.get(name, "@passed " + name), flush=True)
"""


class Talking(Streamed):
    case_seconds = 1

    def command(self, names, _address, _place):
        return [sys.executable, "-c", PROGRAM, ",".join(names)], None, None


class Silent(Streamed):
    def command(self, _names, _address, _place):
        return [sys.executable, "-c", "print('nothing that is told')"], None, None


class Each(Single):
    case_seconds = 1

    def command(self, name, _address, _place):
        code = {"good": "", "bad": "raise SystemExit('no')", "hang": "import time; time.sleep(600)"}[name]
        return [sys.executable, "-c", code], None, None


def outcomes(suite, names):
    with tempfile.TemporaryDirectory() as directory:
        return {r.name: r.outcome for r in suite.run(names, "", pathlib.Path(directory), None)}


class Runs(unittest.TestCase):
    def test_every_case_is_told(self):
        self.assertEqual(outcomes(Talking(), ["a", "bad", "not", "b"]), {"a": PASSED, "bad": FAILED, "not": SKIPPED, "b": PASSED})

    def test_a_hanging_case_costs_itself_and_no_other(self):
        self.assertEqual(outcomes(Talking(), ["a", "hang", "b"]), {"a": PASSED, "hang": FAILED, "b": PASSED})

    def test_a_program_that_ends_costs_the_case_under_way(self):
        self.assertEqual(outcomes(Talking(), ["die", "a", "die2"]), {"die": FAILED, "a": PASSED, "die2": PASSED})

    def test_what_a_program_keeps_silent_about_has_failed(self):
        self.assertEqual(outcomes(Silent(), ["a", "b"]), {"a": FAILED, "b": FAILED})

    def test_a_process_for_each_case(self):
        self.assertEqual(outcomes(Each(), ["good", "bad", "hang"]), {"good": PASSED, "bad": FAILED, "hang": FAILED})


class Verdicts(unittest.TestCase):
    def verdict(self, *results):
        made = report.Verdict(types.SimpleNamespace(name="s", title="S", version="1"))
        entry = exclusions.Entry("s", {"name": "t*", "cause": "transactions", "why": "later"})
        excused = exclusions.Excused([entry])
        for name, outcome in results:
            made.add(Result(name, outcome, 0.0), excused.entry(name))
        return made

    def test_an_excluded_failure_is_no_failure(self):
        made = self.verdict(("a", PASSED), ("t1", FAILED))
        self.assertTrue(made.holds())
        self.assertEqual((made.row()["run"], made.row()["passed"], made.row()["excluded"]), (2, 1, 1))

    def test_an_excluded_test_that_passes_is_told(self):
        made = self.verdict(("t1", PASSED))
        self.assertEqual(made.redeemed, ["t1"])
        self.assertIn("t1 is excluded and passes", report.text([made]))

    def test_any_other_failure_counts(self):
        self.assertFalse(self.verdict(("a", FAILED)).holds())

    def test_every_exclusion_file_is_in_order(self):
        for excused in exclusions.load_all().values():
            self.assertTrue(excused.entries)

    def test_an_exclusion_without_a_known_cause_is_refused(self):
        with self.assertRaises(SystemExit):
            exclusions.Entry("s", {"name": "x", "cause": "flaky", "why": "it fails sometimes"})


if __name__ == "__main__":
    unittest.main()
