"""Rust clients: the integration tests in rdkafka's package, and a program on krafka, which is no relation of librdkafka."""

import os
import subprocess

import fetch
from suite import Single

from .program import Program

RDKAFKA = "0.39.0"
KRAFKA = "0.28.1"


# Where the tests take a broker at localhost:9092 for granted instead of asking for its address.
HARD_CODED = [
    ("test_high_producers.rs", '.set("bootstrap.servers", "localhost")', '.set("bootstrap.servers", get_bootstrap_server())'),
    (
        "test_metadata.rs",
        "assert_eq!(broker_metadata[0].port(), 9092)",
        "assert_eq!(Some(broker_metadata[0].port().to_string().as_str()), get_bootstrap_server().rsplit(':').next())",
    ),
]


class Rdkafka(Single):
    """Test binaries built once, each test a process of its own."""

    name = "rdkafka"
    title = "rdkafka (Rust, librdkafka 2.12): its own integration tests"
    version = RDKAFKA
    # Its tests make topics by using them, and count on three partitions.
    partitions = 3
    # And on one broker, whose id is 0.
    one_broker = True
    case_seconds = 90
    suite_seconds = 1500

    def prepare(self, place):
        self._package = fetch.crate(place, "rdkafka", RDKAFKA)
        for file, written, meant in HARD_CODED:
            text = (self._package / "tests" / file).read_text()
            if written in text:
                (self._package / "tests" / file).write_text(text.replace(written, meant))
        self._binaries = {}
        built = place.home / "rdkafka-target"
        fetch.run(
            place.home, fetch.BUILD_SECONDS, "cargo", "test", "--locked", "--no-run", "--quiet", "--manifest-path",
            self._package / "Cargo.toml", "--test", "test_*",
            CARGO_TARGET_DIR=str(built), CARGO_PROFILE_DEV_DEBUG="0",
        )
        for source in sorted((self._package / "tests").glob("test_*.rs")):
            found = [file for file in (built / "debug" / "deps").glob(f"{source.stem}-*") if file.suffix == ""]
            self._binaries[source.stem] = max(found, key=lambda file: file.stat().st_mtime)

    def cases(self, place):
        names = []
        for program, binary in self._binaries.items():
            listed = subprocess.run([binary, "--list", "--format", "terse"], capture_output=True, text=True, check=True)
            names += [f"{program}::{line.removesuffix(': test')}" for line in listed.stdout.splitlines()]
        return names

    def command(self, name, address, place):
        program, _, test = name.partition("::")
        environment = {**os.environ, "KAFKA_HOST": address, "KAFKA_VERSION": "4.1.0", "RUST_BACKTRACE": "0"}
        return [self._binaries[program], "--exact", test, "--nocapture"], environment, place.home

    def reason(self, log):
        lines = log.read_text(errors="replace").splitlines()
        for at, line in enumerate(lines):
            if "panicked at" in line:
                return " ".join(lines[at : at + 4]).strip()
        return super().reason(log)


class Krafka(Program):
    name = "krafka"
    title = "krafka (Rust): program"
    version = KRAFKA

    def prepare(self, place):
        fetch.needs("cargo")
        sources = place.home / "krafka-program"
        fetch.copy_if_newer(place.programs / "krafka", sources)
        # The manifest is a template: a Cargo.toml below scripts/ would look like a member of this crate's package.
        (sources / "Cargo.toml.in").replace(sources / "Cargo.toml")
        built = place.home / "krafka-target"
        fetch.run(
            place.home, fetch.BUILD_SECONDS, "cargo", "build", "--quiet", "--manifest-path", sources / "Cargo.toml",
            CARGO_TARGET_DIR=str(built), CARGO_PROFILE_DEV_DEBUG="0",
        )
        self._binary = built / "debug" / "krafka-program"

    def arguments(self, place):
        return [self._binary]


ALL = [Rdkafka(), Krafka()]
