"""The frame of every Python program here: named cases, run in order, told line by line.

The judge reads `@run NAME`, `@passed NAME`, `@failed NAME why` and `@skipped NAME why`; everything else is for whoever
reads the log. `COMPAT_BOOTSTRAP` is the broker, `COMPAT_CASES` says which cases to run (all of them if it is not set), and
`--list` names them. A case is a function, or a coroutine function; it takes a name that no other case has, for its topics
and groups.
"""

import asyncio
import inspect
import os
import pathlib
import sys
import time
import traceback
import uuid

# Expectations, codecs and the raw look at stored batches are shared with the client tests.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "tests" / "clients"))

from checks import CODECS, expect, poll_until, stored_batches  # noqa: E402, F401

BOOTSTRAP = os.environ.get("COMPAT_BOOTSTRAP", "127.0.0.1:9092")
_cases = {}


class Skip(Exception):
    """The case cannot be told apart from others here, and says why."""


def case(function):
    _cases[function.__name__] = function
    return function


def unique(label):
    """A name that no other topic or group of any run has."""
    return f"{label}-{uuid.uuid4().hex[:8]}"


def holds(condition, what):
    if not condition:
        raise AssertionError(what)


def raises(kinds, function, what):
    """The error that `function` must end with."""
    try:
        value = function()
    except kinds as error:
        return error
    raise AssertionError(f"{what}: no error, but {value!r:.200}")


def main():
    if "--list" in sys.argv:
        print("\n".join(_cases))
        return
    wanted = os.environ.get("COMPAT_CASES")
    names = wanted.split(",") if wanted else list(_cases)
    failed = 0
    for name in names:
        print(f"@run {name}", flush=True)
        started = time.monotonic()
        try:
            _call(_cases[name], unique(name.replace("_", "-")))
            print(f"@passed {name}", flush=True)
        except Skip as why:
            print(f"@skipped {name} {why}", flush=True)
        except Exception as error:  # noqa: BLE001
            failed += 1
            traceback.print_exc()
            print(f"@failed {name} {type(error).__name__}: {error}".replace("\n", " "), flush=True)
        print(f"{name} took {time.monotonic() - started:.2f} s", flush=True)
    sys.stdout.flush()
    # Client libraries may hold threads that never end.
    os._exit(1 if failed else 0)


def _call(function, name):
    arguments = [name] if inspect.signature(function).parameters else []
    if inspect.iscoroutinefunction(function):
        asyncio.run(function(*arguments))
    else:
        function(*arguments)
