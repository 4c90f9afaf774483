"""RabbitMQ: the Debian packages of it and of Erlang, unpacked beside the build and never installed."""

import debian
import supervise

READY_SECONDS = 90
PACKAGES = [
    "rabbitmq-server", "erlang-base", "erlang-asn1", "erlang-crypto", "erlang-public-key", "erlang-mnesia",
    "erlang-runtime-tools", "erlang-ssl", "erlang-eldap", "erlang-ftp", "erlang-tftp", "erlang-inets", "erlang-snmp",
    "erlang-os-mon", "erlang-parsetools", "erlang-syntax-tools", "erlang-tools", "erlang-xmerl",
]
# The virtual machine's process; the script that starts it may stay in between.
MACHINE = "beam.smp"

_root = None


def obtain(place):
    global _root
    _root = debian.unpack(place, "rabbitmq", PACKAGES)
    # Erlang's launcher knows only the place a package manager puts it.
    launcher = _root / "usr/lib/erlang/bin/erl"
    text = launcher.read_text()
    if "ROOTDIR=/usr/lib/erlang" in text:
        launcher.write_text(text.replace("ROOTDIR=/usr/lib/erlang", f"ROOTDIR={_root}/usr/lib/erlang"))


def version():
    return f"RabbitMQ {debian.version_of(_root, 'rabbitmq-server')}, Erlang {debian.version_of(_root, 'erlang-base')}"


def start(directory, _options):
    port = supervise.free_ports(3)
    names = port + 2
    environment = debian.environment(_root)
    environment.update({
        "PATH": f"{_root}/usr/lib/erlang/bin:{environment['PATH']}",
        "HOME": str(directory),
        # A name server of our own: the usual one would stay behind as a daemon.
        "ERL_EPMD_PORT": str(names),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": "lab@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(port + 1),
        "RABBITMQ_MNESIA_BASE": str(directory / "data"),
        "RABBITMQ_LOG_BASE": str(directory / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
        "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
        "RABBITMQ_CONF_ENV_FILE": str(directory / "none"),
    })
    (directory / "plugins").write_text("[].\n")
    (directory / "rabbitmq.conf").write_text("log.file.level = warning\n")
    epmd = supervise.start(
        [next(_root.glob("usr/lib/erlang/erts-*/bin/epmd")), "-port", names], directory / "epmd.log",
        environment=environment,
    )
    log = directory / "server.log"
    server = next(_root.glob("usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server"))
    process = supervise.start(["sh", server], log, environment=environment, directory=directory)
    running = Running(process, epmd, port)
    try:
        supervise.wait_until(
            lambda: supervise.greets(port, b"AMQP\0\0\x09\x01", b"RabbitMQ"), process, log, READY_SECONDS
        )
    except supervise.Failed:
        running.stop()
        raise
    running.find_machine()
    return running


class Running:
    """A server that runs."""

    def __init__(self, process, epmd, port):
        self.process = process
        self.pid = process.pid
        self._epmd = epmd
        self._port = port

    def find_machine(self):
        for pid in [self.process.pid, *supervise.descendants(self.process.pid)]:
            if supervise.command_of(pid) == MACHINE:
                self.pid = pid

    def address(self, _protocol):
        return f"127.0.0.1:{self._port}"

    def stop(self):
        # Nobody reads its data again; its own way down takes seconds.
        supervise.stop(self.process, gentle_seconds=0)
        supervise.stop(self._epmd, gentle_seconds=0)
