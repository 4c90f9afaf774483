"""Python clients: confluent-kafka (a current librdkafka), kafka-python with its own integration tests, aiokafka."""

import os
import re
import subprocess

import fetch
from suite import FAILED, PASSED, SKIPPED, Event, Streamed

from .program import Program

CONFLUENT = "2.16.1"
KAFKA_PYTHON = "3.0.12"
AIOKAFKA = "0.14.0"
# What kafka-python's tests take the broker for. They compare it with what the client concludes from the versions of APIs:
# Corelog has ListOffsets 11, which came with 4.2.
TAKEN_FOR = {"kafka": "4.1.0", "corelog": "4.2.0"}


SERVICE = """class ExternalService:
    def __init__(self, host, port):
        self.host, self.port = host, port

    def dump_logs(self):
        pass

    def stop(self):
        pass


class SpawnedService:
    def __init__(self, *_):
        raise RuntimeError('no broker is started here')
"""


class Script(Program):
    """A Python program with the packages it wants."""

    packages = ()
    file = ""

    def prepare(self, place):
        self._python = fetch.venv(place, self.file.split("/")[0], *self.packages)

    def arguments(self, place):
        return [self._python, place.programs / self.file]


class Confluent(Script):
    packages = (f"confluent-kafka=={CONFLUENT}",)
    version = CONFLUENT


class ConfluentProduce(Confluent):
    name = "confluent-produce"
    title = "confluent-kafka: produce and consume"
    file = "confluent/produce.py"


class ConfluentClassic(Confluent):
    name = "confluent-classic"
    title = "confluent-kafka: classic groups"
    file = "confluent/classic.py"
    ci = True
    slow = ("a_killed_member_is_missed",)


class Confluent848(Confluent):
    name = "confluent-848"
    title = "confluent-kafka: KIP-848 groups"
    file = "confluent/next_generation.py"
    ci = True
    slow = ("subscription_by_pattern",)


class ConfluentAdmin(Confluent):
    name = "confluent-admin"
    title = "confluent-kafka: administration"
    file = "confluent/administration.py"
    ci = True


class KafkaPython(Script):
    name = "kafka-python"
    title = "kafka-python: program"
    packages = (f"kafka-python=={KAFKA_PYTHON}",)
    version = KAFKA_PYTHON
    file = "kafka_python/program.py"
    ci = True


class Aiokafka(Script):
    name = "aiokafka"
    title = "aiokafka: program"
    packages = (f"aiokafka=={AIOKAFKA}", "cramjam==2.11.0")
    version = AIOKAFKA
    file = "aiokafka/program.py"
    ci = True


class KafkaPythonTests(Streamed):
    """The integration tests in kafka-python's source distribution, run by pytest."""

    name = "kafka-python-tests"
    title = "kafka-python: its own integration tests"
    version = KAFKA_PYTHON
    case_seconds = 120
    suite_seconds = 1200
    # Its own configuration of Kafka allows short sessions.
    kafka_settings = {"group.min.session.timeout.ms": 1000}
    corelog_settings = {"group.session_timeout_min": "1s"}

    def prepare(self, place):
        self._python = fetch.venv(
            place, "kafka_python_tests", f"kafka-python=={KAFKA_PYTHON}", "pytest==8.4.2", "py==1.11.0",
            "pytest-timeout==2.4.0", "pytest-mock==3.15.1", "crc32c==2.7.1", "zstandard==0.25.0", "lz4==4.4.4",
            "python-snappy==0.7.3",
        )
        self._sources = fetch.sdist(place, self._python, "kafka-python", KAFKA_PYTHON)
        self._taken_for = TAKEN_FOR[place.options.broker]
        # Two files are not in the distribution: the one that makes its tests a package of that name instead of Python's
        # own, and the one that would start Kafka, of which only what is said of a broker that runs already is needed.
        (self._sources / "test" / "__init__.py").touch()
        (self._sources / "test" / "service.py").write_text(SERVICE)

    def environment(self, address):
        return {
            **os.environ,
            "KAFKA_VERSION": self._taken_for,
            "KAFKA_URI": f"kafka://{address}",
            # A directory that exists is asked for, though no Kafka is started from it.
            "KAFKA_ROOT": str(self._sources),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def pytest(self, *arguments):
        return [self._python, "-m", "pytest", "-p", "no:cacheprovider", *arguments]

    def cases(self, place):
        answer = subprocess.run(
            [str(a) for a in self.pytest("--collect-only", "-q", "test/integration")],
            capture_output=True, text=True, timeout=60, cwd=self._sources, env=self.environment("127.0.0.1:9"),
        )
        return [test_name(line) for line in answer.stdout.splitlines() if "::" in line and "ERROR" not in line]

    def command(self, names, address, place):
        tests = [f"test/integration/{name}" for name in names]
        arguments = self.pytest("-v", "-rN", "--tb=short", "--timeout=100", *tests)
        return arguments, self.environment(address), self._sources

    def event(self, line):
        match = re.match(r"(test/integration/\S+::.+?)(?: (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b(.*))?$", line)
        if not match:
            return None
        outcomes = {"PASSED": PASSED, "XPASS": PASSED, "SKIPPED": SKIPPED, "XFAIL": SKIPPED, None: "run"}
        return Event(outcomes.get(match[2], FAILED), test_name(match[1]), (match[3] or "").strip())


def test_name(line):
    return line.strip().removeprefix("test/integration/").replace(" ", "")


ALL = [
    ConfluentProduce(), ConfluentClassic(), Confluent848(), ConfluentAdmin(),
    KafkaPython(), KafkaPythonTests(), Aiokafka(),
]
