"""Tests that are known to fail, and why: for nearly all of them it is not a defect. A gap is one, and is counted as such.

One file per suite, `excluded/SUITE.toml`, holds entries

    [[test]]
    name = "test_transactions::*"     # a test, or a pattern
    cause = "transactions"            # one of CAUSES
    why = "what exactly is missing, with a link if the fault is known elsewhere"
    run = false                       # only if the test must not even be tried: it hangs, or breaks others

Excluded tests run all the same and are counted apart; one that passes is reported, so that the list shrinks.
"""

import fnmatch
import pathlib
import tomllib

HERE = pathlib.Path(__file__).resolve().parent / "excluded"
CAUSES = {
    "transactions": "needs transactions, which come later",
    "security": "needs TLS, SASL, ACLs or quotas, which come later",
    "share-groups": "needs share groups, which come later",
    "several-brokers": "needs more than one broker",
    "kafka-fails-too": "fails against Kafka 4.1 in the same way",
    "client-bug": "the client's or the suite's own fault",
    "fixture": "needs Kafka's files or a broker that the suite starts itself",
    "gap": "Kafka does this and Corelog does not yet",
    "kafka-internals": "asks for something inside Kafka that Corelog does not have",
}


class Entry:
    def __init__(self, suite, table):
        self.suite = suite
        self.name = table["name"]
        self.cause = table["cause"]
        self.why = table["why"]
        self.run = table.get("run", True)
        unknown = set(table) - {"name", "cause", "why", "run"}
        if self.cause not in CAUSES or not self.why or unknown:
            raise SystemExit(f"excluded/{suite}.toml: {self.name}: cause, why or a key is wrong: {table}")


class Excused:
    def __init__(self, entries):
        self.entries = entries

    def entry(self, name):
        return next((entry for entry in self.entries if fnmatch.fnmatchcase(name, entry.name)), None)


def load(suite):
    file = HERE / f"{suite}.toml"
    if not file.exists():
        return Excused([])
    with open(file, "rb") as text:
        return Excused([Entry(suite, table) for table in tomllib.load(text).get("test", [])])


def load_all():
    return {file.stem: load(file.stem) for file in sorted(HERE.glob("*.toml"))}
