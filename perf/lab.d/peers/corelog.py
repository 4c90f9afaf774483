"""Corelog itself, built from this tree."""

import subprocess

import supervise

READY_SECONDS = 60
# One listener per shard, from the first port on; no machine of this laboratory has more cores.
PORTS_PER_PROTOCOL = 64

_binary = None


def obtain(place):
    """Builds the release binary. Everything else of the laboratory runs it, too."""
    global _binary
    root = place.root
    if not place.skip_build:
        print("building corelog", flush=True)
        subprocess.run(["cargo", "build", "--release", "--quiet", "--bin", "corelog"], cwd=root, check=True)
    _binary = root / "target" / "release" / "corelog"
    if not _binary.exists():
        raise supervise.Failed(f"{_binary} is not built")
    return _binary


def version():
    answer = subprocess.run([_binary, "--version"], capture_output=True, text=True, check=True)
    return answer.stdout.strip()


def binary():
    return _binary


def start(directory, _options):
    first = supervise.free_ports(2 * PORTS_PER_PROTOCOL)
    kafka, native = first, first + PORTS_PER_PROTOCOL
    log = directory / "server.log"
    process = supervise.start(
        [
            _binary, "serve", "--data-dir", directory / "data",
            "--kafka", f"127.0.0.1:{kafka}",
            "--admin", f"127.0.0.1:{native + PORTS_PER_PROTOCOL - 1}",
            *native_listener(native),
            # As often as the peers are told to.
            "--set", "log.retention_check_interval=1s",
        ],
        log,
    )
    # ApiVersions 0, correlation 1, no client id.
    hello = bytes([0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 255, 255])
    supervise.wait_until(lambda: supervise.greets(kafka, hello, b"\0\0\0\x01"), process, log, READY_SECONDS)
    return Running(process, {"kafka": f"127.0.0.1:{kafka}", "native": f"127.0.0.1:{native}"})


def native_listener(port):
    """The arguments that open the native door, if this build has one."""
    return ["--set", f"native.listen=127.0.0.1:{port}"] if serves_native() else []


def serves_native():
    return "\n[native]" in output_of("config", "default")


def lacks(protocol):
    """Why a row of this protocol cannot be had from this build, or None."""
    if protocol == "native" and not serves_native():
        return "this build has no native door"
    if protocol not in output_of("bench", "produce", "--help"):
        return "this build's generator does not speak it"
    return None


def output_of(*arguments):
    return subprocess.run([_binary, *arguments], capture_output=True, text=True, check=True).stdout


class Running:
    """A server that runs."""

    def __init__(self, process, addresses):
        self.process = process
        self.pid = process.pid
        self._addresses = addresses

    def address(self, protocol):
        return self._addresses[protocol]

    def stop(self):
        supervise.stop(self.process)
