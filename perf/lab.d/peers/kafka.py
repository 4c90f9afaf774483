"""Apache Kafka: its jars from Maven Central, one node that is broker and controller."""

import shutil
import subprocess

import supervise

VERSION = "4.1.0"
HEAP = "1g"
# The virtual machine compiles what runs often; before that it is another program.
WARM_SECONDS = 3
READY_SECONDS = 90
DOWNLOAD_SECONDS = 600
# Any name does; a formatted directory is copied for each run, and copies never meet.
CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qg"

PROJECT = f"""<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>lab</groupId><artifactId>peer</artifactId><version>1</version><packaging>pom</packaging>
<dependencies><dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>
<version>{VERSION}</version></dependency></dependencies></project>
"""

_home = None


def obtain(place):
    global _home
    _home = place.peers / f"kafka-{VERSION}"
    for tool in ("java", "mvn"):
        if shutil.which(tool) is None:
            raise supervise.Failed(f"{tool} is not installed")
    jars = _home / "lib"
    if not (jars / f"kafka-server-{VERSION}.jar").exists():
        print(f"fetching Apache Kafka {VERSION}", flush=True)
        _home.mkdir(parents=True, exist_ok=True)
        (_home / "pom.xml").write_text(PROJECT)
        supervise.run(
            ["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={jars}", "-DincludeScope=runtime"],
            _home / "fetch.log", DOWNLOAD_SECONDS, directory=_home,
        )
    if not (_home / "formatted").exists():
        format_once()


def format_once():
    """Formats a log directory that every run copies: formatting takes a virtual machine of its own."""
    half = _home / "half-formatted"
    shutil.rmtree(half, ignore_errors=True)
    properties = _home / "format.properties"
    properties.write_text(configuration(half, 1, 2, flush=False))
    supervise.run(
        [*java(), "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", properties],
        _home / "format.log", READY_SECONDS,
    )
    half.rename(_home / "formatted")


def version():
    return f"Apache Kafka {VERSION}, {java_version()}"


def java_version():
    answer = subprocess.run(["java", "-version"], capture_output=True, text=True, check=True)
    return answer.stderr.splitlines()[0].strip()


def java():
    return [
        "java", f"-Xms{HEAP}", f"-Xmx{HEAP}", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
        "-XX:InitiatingHeapOccupancyPercent=35", "-Djava.awt.headless=true", "-cp", f"{_home / 'lib'}/*",
    ]


def configuration(directory, port, controller, flush):
    lines = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "log.dirs": directory,
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": 1,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        # Retention is looked at every five minutes unless told; no run is as long.
        "log.retention.check.interval.ms": 1000,
        "log.segment.delete.delay.ms": 1000,
    }
    if flush:
        lines["log.flush.interval.messages"] = 1
    return "".join(f"{key}={value}\n" for key, value in lines.items())


def start(directory, options):
    port = supervise.free_ports(2)
    data = directory / "data"
    shutil.copytree(_home / "formatted", data)
    properties = directory / "server.properties"
    properties.write_text(configuration(data, port, port + 1, options["flush"]))
    log = directory / "server.log"
    process = supervise.start([*java(), "kafka.Kafka", properties], log, directory=directory)
    hello = bytes([0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 255, 255])
    supervise.wait_until(lambda: supervise.greets(port, hello, b"\0\0\0\x01"), process, log, READY_SECONDS)
    return Running(process, port)


class Running:
    """A server that runs."""

    def __init__(self, process, port):
        self.process = process
        self.pid = process.pid
        self._port = port

    def address(self, _protocol):
        return f"127.0.0.1:{self._port}"

    def stop(self):
        # Nobody reads its data again.
        supervise.stop(self.process, gentle_seconds=0)
