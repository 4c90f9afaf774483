"""NATS with JetStream: built from the Go module."""

import os
import shutil

import supervise

VERSION = "v2.15.2"
READY_SECONDS = 30
BUILD_SECONDS = 900

_binary = None


def obtain(place):
    global _binary
    home = place.peers / f"nats-{VERSION}"
    _binary = home / "nats-server"
    if _binary.exists():
        return
    if shutil.which("go") is None:
        raise supervise.Failed("go is not installed")
    print(f"building NATS {VERSION}", flush=True)
    home.mkdir(parents=True, exist_ok=True)
    supervise.run(
        ["go", "install", f"github.com/nats-io/nats-server/v2@{VERSION}"],
        home / "build.log", BUILD_SECONDS, environment={**os.environ, "GOBIN": str(home)},
    )


def version():
    return f"NATS server {VERSION}"


def start(directory, options):
    port = supervise.free_ports(1)
    settings = directory / "server.conf"
    settings.write_text(
        f"listen: 127.0.0.1:{port}\n"
        f'jetstream {{ store_dir: "{directory / "data"}", max_file_store: 8GB, max_memory_store: 256MB, '
        f"sync_interval: {options['sync']} }}\n"
    )
    log = directory / "server.log"
    process = supervise.start([_binary, "-c", settings], log)
    supervise.wait_until(lambda: supervise.greets(port, b"", b'"jetstream":true'), process, log, READY_SECONDS)
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
