"""Redis: the Debian package, unpacked beside the build and never installed."""

import debian
import supervise

READY_SECONDS = 30

_root = None


def obtain(place):
    global _root
    _root = debian.unpack(place, "redis", ["redis-server", "redis-tools", "libjemalloc2", "liblzf1"])


def version():
    return "Redis " + debian.version_of(_root, "redis-server")


def start(directory, options):
    port = supervise.free_ports(1)
    log = directory / "server.log"
    data = directory / "data"
    data.mkdir()
    process = supervise.start(
        [
            _root / "usr/bin/redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", data,
            "--appendonly", "yes", "--appendfsync", options["fsync"], "--save", "",
            # Rewriting the log in the middle of a run would measure that.
            "--auto-aof-rewrite-percentage", 0,
        ],
        log, environment=debian.environment(_root),
    )
    supervise.wait_until(lambda: supervise.greets(port, b"PING\r\n", b"+PONG"), process, log, READY_SECONDS)
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
