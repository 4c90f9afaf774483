"""Apache Kafka's own clients, an older and the current one, and its shell tools."""

import fetch

from .program import Program

OLD = "3.9.1"
NEW = "4.1.0"
# Clients compress and log with these; they are not among their run-time dependencies.
LOGGING = "org.slf4j:slf4j-simple:1.7.36"
HEAP = "-Xmx192m"


class Clients(Program):
    case_seconds = 60

    def prepare(self, place):
        self._jars = fetch.jars(place, self.name, f"org.apache.kafka:kafka-clients:{self.version}", LOGGING)
        sources = sorted((place.programs / "java").glob("*.java"))
        self._classes = place.home / f"classes-{self.name}"
        newest = max(source.stat().st_mtime for source in sources)
        stamp = self._classes / ".built"
        if not stamp.exists() or stamp.stat().st_mtime < newest:
            self._classes.mkdir(exist_ok=True)
            fetch.run(
                place.home, fetch.BUILD_SECONDS, "javac", "-nowarn", "-cp", self._jars, "-d", self._classes, *sources
            )
            stamp.touch()

    def arguments(self, place):
        return [
            "java", HEAP, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-cp", f"{self._classes}:{self._jars}", "Compat",
        ]


class OldClients(Clients):
    name = "java-3"
    title = "Java kafka-clients 3.9: program"
    version = OLD


class NewClients(Clients):
    name = "java-4"
    title = "Java kafka-clients 4.1: program"
    version = NEW


class Tools(Program):
    """kafka-topics and its relations: the classes that Kafka's shell scripts start."""

    name = "kafka-tools"
    title = "Kafka's shell tools"
    version = NEW
    case_seconds = 120
    suite_seconds = 1200

    def prepare(self, place):
        self._jars = fetch.jars(
            place, self.name, f"org.apache.kafka:kafka-tools:{NEW}", f"org.apache.kafka:kafka_2.13:{NEW}", LOGGING
        )

    def arguments(self, place):
        return ["python3", place.programs / "kafka_tools" / "program.py"]

    def environment(self, place):
        return {"COMPAT_JARS": self._jars}


ALL = [OldClients(), NewClients(), Tools()]
