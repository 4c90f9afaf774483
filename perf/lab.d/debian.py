"""Debian packages, unpacked into a directory of their own: no daemon starts, no user is made, nothing is installed."""

import os
import re
import shutil
import subprocess

import supervise

FETCH_SECONDS = 300
LIBRARIES = "usr/lib/x86_64-linux-gnu"


def unpack(place, name, packages):
    """The root under which `packages` are, fetching them once."""
    root = place.peers / name
    done = root / "versions.txt"
    if done.exists():
        return root
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise supervise.Failed("not a Debian system")
    print(f"fetching the Debian packages of {name}", flush=True)
    fetched = place.peers / f"{name}-packages"
    for old in (root, fetched):
        shutil.rmtree(old, ignore_errors=True)
        old.mkdir(parents=True)
    log = place.peers / f"{name}-fetch.log"
    try:
        download(packages, fetched, log)
    except supervise.Failed:
        # Package lists that are old, or not there at all.
        supervise.run(["apt-get", "update", "-qq"], log, FETCH_SECONDS)
        download(packages, fetched, log)
    versions = []
    for archive in sorted(fetched.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", archive, root], check=True)
        field = subprocess.run(["dpkg-deb", "-f", archive, "Package", "Version"], capture_output=True, text=True, check=True)
        versions.append(" ".join(re.findall(r": (\S+)", field.stdout)))
    shutil.rmtree(fetched)
    done.write_text("\n".join(versions) + "\n")
    return root


def download(packages, directory, log):
    # The fetching user of apt may not write here; without its sandbox it need not.
    supervise.run(
        ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *packages],
        log, FETCH_SECONDS, directory=directory,
    )


def version_of(root, package):
    for line in (root / "versions.txt").read_text().splitlines():
        name, version = line.split()
        if name == package:
            return version
    return "unknown"


def environment(root):
    """Where the unpacked libraries are found."""
    return {**os.environ, "LD_LIBRARY_PATH": str(root / LIBRARIES)}
