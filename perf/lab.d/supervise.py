"""Processes that never outlive the laboratory.

Every process is started here, in a session of its own, and told by the kernel to die with us. Orphans of orphans come
back to us (we are their subreaper), so that at the end whatever is left below us can be found and ended. Nothing is
ever ended by name.
"""

import atexit
import ctypes
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
# How long a process may take to end when asked, before it is not asked any more.
GENTLE_SECONDS = 10
# Bytes of a log that are shown when its process did not do what it should.
LOG_TAIL_BYTES = 2000

_libc = ctypes.CDLL(None, use_errno=True)


class Failed(Exception):
    """A step of the laboratory that did not work, in words for people."""


def take_charge():
    """Makes this process answer for all below it. Called once, first."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    atexit.register(end_everything)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))


def start(arguments, log, environment=None, directory=None):
    """Starts a server whose output goes to the file `log`."""
    parent = os.getpid()

    def die_with_parent():
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    with open(log, "wb") as output:
        return subprocess.Popen(
            [str(argument) for argument in arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=directory,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )


def run(arguments, log, seconds, environment=None, directory=None):
    """Runs a command to its end, within `seconds`."""
    process = start(arguments, log, environment, directory)
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        raise Failed(f"{name_of(arguments)} took longer than {seconds} s\n{tail(log)}") from None
    finally:
        stop(process)
    if code != 0:
        raise Failed(f"{name_of(arguments)} failed with {code}\n{tail(log)}")


def name_of(arguments):
    return " ".join(pathlib.Path(str(argument)).name for argument in arguments[:3])


def stop(process, gentle_seconds=GENTLE_SECONDS):
    """Ends a process and everything it started."""
    below = descendants(process.pid)
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(gentle_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for pid in below:
        kill(pid)
    for pid in below:
        bury(pid)


def bury(pid):
    """Waits for one that was ours by adoption; who never was is somebody else's to wait for."""
    deadline = time.monotonic() + GENTLE_SECONDS
    while time.monotonic() < deadline:
        try:
            if os.waitpid(pid, os.WNOHANG)[0] == pid:
                return
        except ChildProcessError:
            if not pathlib.Path(f"/proc/{pid}").exists():
                return
        time.sleep(0.002)


def end_everything():
    for pid in descendants(os.getpid()):
        kill(pid)
    # Collect the dead, so that their files are closed before anybody deletes them.
    deadline = time.monotonic() + GENTLE_SECONDS
    while time.monotonic() < deadline:
        try:
            pid, _status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            time.sleep(0.01)


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def descendants(ancestor):
    """Processes below `ancestor`, nearest first."""
    children = {}
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
        except OSError:
            continue
        # The command in parentheses may hold anything; the parent is the second word behind it.
        parent = int(stat.rpartition(")")[2].split()[1])
        children.setdefault(parent, []).append(int(entry.name))
    found = []
    wanted = [ancestor]
    while wanted:
        below = children.get(wanted.pop(0), [])
        found.extend(below)
        wanted.extend(below)
    return found


def command_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def free_ports(count):
    """A first port with `count` free ones in a row from it on, outside the range the kernel hands out by itself."""
    for first in range(21000 + os.getpid() % 5000, 31000, max(count, 4)):
        sockets = []
        try:
            for port in range(first, first + count):
                listener = socket.socket()
                sockets.append(listener)
                listener.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
        finally:
            for listener in sockets:
                listener.close()
    raise Failed("no free ports")


def wait_until(ready, process, log, seconds):
    """Waits until `ready()`; fails when the process ends first, or time does."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Failed(f"the server ended with {process.returncode}\n{tail(log)}")
        if ready():
            return
        time.sleep(0.05)
    raise Failed(f"the server is not ready after {seconds} s\n{tail(log)}")


def greets(port, send, expect):
    """Whether who listens on `port` answers `send` with bytes that hold `expect`."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as line:
            line.settimeout(1)
            line.sendall(send)
            return expect in line.recv(65536)
    except OSError:
        return False


def tail(log):
    try:
        return pathlib.Path(log).read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").strip()
    except OSError:
        return ""
