"""The broker under judgement: Corelog, a real Kafka to compare with, or one that runs already.

Each gives `obtain(place)`, once, and `start(directory, suite)`, whose result has an `address`, tells of `trouble()` and
can `stop()`. Settings are what suites written for Kafka take for granted: topics are made on first use, with as many
partitions as the suite says, and the first rebalance of a group does not wait for more members.
"""

import os
import pathlib
import shutil
import subprocess

import supervise
from peers import kafka

READY_SECONDS = 60
# One listener per shard behind the first, for each protocol, and one for the administrator.
PORTS = 16
# ApiVersions 0, correlation 1, no client id.
HELLO = bytes([0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 255, 255])
# Small beside the laboratory's: nothing is measured, and builds may run beside it.
KAFKA_HEAP = "512m"
REBALANCE_DELAY_MS = 100
# How often members of new groups ask for news. Five seconds by default, which tests would spend waiting.
HEARTBEAT_MS = 500


def maker(_place, options):
    if options.bootstrap:
        return External(options.bootstrap)
    return Kafka() if options.broker == "kafka" else Corelog(options)


def free_ports(first, count):
    """A run of free ports, from `first` on."""
    import socket

    for base in range(first, first + 64 * count, count):
        held = []
        try:
            for port in range(base, base + count):
                listener = socket.socket()
                held.append(listener)
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(("127.0.0.1", port))
            return base
        except OSError:
            continue
        finally:
            for listener in held:
                listener.close()
    raise supervise.Failed(f"no free ports from {first} on")


class External:
    """A broker that somebody else started; it is neither watched nor ended."""

    def __init__(self, address):
        self.address = address

    def obtain(self, _place):
        pass

    def start(self, _directory, _suite):
        return self

    def trouble(self):
        return None

    def stop(self):
        pass


class Corelog:
    def __init__(self, options):
        self._options = options
        self._binary = None

    def obtain(self, place):
        self._place = place
        named = self._options.binary or os.environ.get("CORELOG")
        if named:
            self._binary = pathlib.Path(named).resolve()
        else:
            built = [place.target / kind / "corelog" for kind in ("release", "debug")]
            built = [binary for binary in built if binary.exists()]
            if not built:
                subprocess.run(["cargo", "build", "--locked", "--quiet", "--bin", "corelog"], cwd=place.root, check=True)
                built = [place.target / "debug" / "corelog"]
            self._binary = max(built, key=lambda binary: binary.stat().st_mtime)
        if not self._binary.exists():
            raise supervise.Failed(f"{self._binary} is not there")
        answer = subprocess.run([self._binary, "config", "default"], capture_output=True, text=True, check=True)
        self._settings = settings_of(answer.stdout)

    def start(self, directory, suite):
        port = free_ports(self._place.first_port, PORTS)
        options = self._options
        settings = {
            "kafka.listen": f"127.0.0.1:{port}",
            "kafka.advertise": "single" if suite.one_broker else options.advertise,
            "kafka.auto_create_topics": "true",
            "kafka.num_partitions": suite.partitions,
            "native.listen": f"127.0.0.1:{port + PORTS // 2}",
            "admin.listen": f"127.0.0.1:{port + PORTS - 1}",
            "runtime.shards": options.shards,
            "memory": "512MiB",
            "group.initial_rebalance_delay": f"{REBALANCE_DELAY_MS}ms",
            "compaction.check_interval": "1s",
            "group.consumer_heartbeat_interval": f"{HEARTBEAT_MS}ms",
            **suite.corelog_settings,
        }
        arguments = [self._binary, "serve", "--data-dir", directory / "data"]
        for name, value in settings.items():
            # Runs may judge older builds, too: what they cannot be told, they are not told.
            if name in self._settings:
                arguments += ["--set", f"{name}={value}"]
        log = directory / "broker.log"
        process = supervise.start(arguments, log)
        supervise.wait_until(lambda: supervise.greets(port, HELLO, b"\0\0\0\x01"), process, log, READY_SECONDS)
        return Running(process, f"127.0.0.1:{port}", log, words=("panicked at",))


def settings_of(text):
    """The names of settings in the text of `config default`."""
    names, table = set(), ""
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("["):
            table = line.strip("[]") + "."
        elif "=" in line and not line.startswith("#"):
            names.add(table + line.split("=")[0].strip())
    return names


class Kafka:
    """One node of Apache Kafka, from the laboratory's jars."""

    def obtain(self, place):
        self._place = place
        kafka.HEAP = KAFKA_HEAP
        kafka.obtain(place)

    def start(self, directory, suite):
        port = free_ports(self._place.first_port, PORTS)
        data = directory / "data"
        shutil.copytree(self._place.peers / f"kafka-{kafka.VERSION}" / "formatted", data)
        properties = directory / "server.properties"
        base = kafka.configuration(data, port, port + 1, flush=False)
        meta = data / "meta.properties"
        meta.write_text(meta.read_text().replace("node.id=1", "node.id=0"))
        wanted = {
            # A suite written for one broker takes it for number 0.
            "node.id": 0,
            "controller.quorum.voters": f"0@127.0.0.1:{port + 1}",
            "log.retention.check.interval.ms": 300_000,
            "auto.create.topics.enable": "true",
            "num.partitions": suite.partitions,
            "group.initial.rebalance.delay.ms": REBALANCE_DELAY_MS,
            "group.consumer.heartbeat.interval.ms": HEARTBEAT_MS,
            "group.consumer.min.heartbeat.interval.ms": HEARTBEAT_MS,
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.num.partitions": 4,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            **suite.kafka_settings,
        }
        kept = [line for line in base.splitlines() if line.split("=")[0] not in wanted]
        properties.write_text("\n".join(kept + [f"{key}={value}" for key, value in wanted.items()]) + "\n")
        log = directory / "broker.log"
        process = supervise.start([*kafka.java(), "kafka.Kafka", properties], log, directory=directory)
        supervise.wait_until(lambda: supervise.greets(port, HELLO, b"\0\0\0\x01"), process, log, READY_SECONDS)
        return Running(process, f"127.0.0.1:{port}", log, words=())


class Running:
    """A broker that was started here."""

    def __init__(self, process, address, log, words):
        self.address = address
        self._process = process
        self._log = log
        self._words = words

    def trouble(self):
        """What a broker must not do whatever clients do: end, or panic."""
        if self._process.poll() is not None:
            return f"the broker ended with {self._process.returncode}: {supervise.tail(self._log)}"
        for line in self._log.read_text(errors="replace").splitlines():
            if any(word in line for word in self._words):
                return f"the broker's log says: {line.strip()}"
        return None

    def stop(self):
        supervise.stop(self._process, gentle_seconds=10)
