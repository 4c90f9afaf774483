"""Brings clients and suites from the package registries to target/compat: pinned, once.

Each function leaves a stamp that holds the pins behind when it is through; with the same pins it then does nothing and
touches no network. A changed pin, or an interrupted fetch, starts that one directory anew. Builds are niced: somebody
may be working here.
"""

import os
import pathlib
import shutil
import subprocess
import sys

import supervise
from suite import Unavailable

FETCH_SECONDS = 600
BUILD_SECONDS = 1800


def needs(*programs):
    """Fails softly if a toolchain is absent."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    for program in programs:
        if shutil.which(program, path=path) is None:
            raise Unavailable(f"{program} is not installed")


def once(directory, pins, make):
    """Calls `make(directory)` for an empty directory, unless that was done with these pins."""
    stamp = directory / ".pins"
    if stamp.exists() and stamp.read_text() == pins:
        return directory
    print(f"   fetching {directory.name}", file=sys.stderr, flush=True)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    make(directory)
    stamp.write_text(pins)
    return directory


def run(directory, seconds, *arguments, **environment):
    supervise.run(
        ["nice", "-n", "5", *arguments], directory / "fetch.log", seconds,
        environment={**os.environ, **environment}, directory=directory,
    )


def venv(place, name, *packages):
    """A virtual environment; its Python."""
    needs("python3")

    def make(directory):
        run(directory, FETCH_SECONDS, "python3", "-m", "venv", directory)
        run(
            directory, FETCH_SECONDS, directory / "bin" / "python", "-m", "pip", "install", "--quiet",
            "--disable-pip-version-check", "--only-binary", ":all:", *packages,
        )

    return once(place.home / f"venv-{name}", " ".join(packages), make) / "bin" / "python"


def sdist(place, python, project, version):
    """The unpacked source distribution of a Python project; nothing of it is built or installed."""

    def make(directory):
        run(
            directory, FETCH_SECONDS, python, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
            "--no-deps", "--no-binary", ":all:", "--dest", directory, f"{project}=={version}",
        )
        archive = next(directory.glob("*.tar.gz"))
        subprocess.run(["tar", "-xzf", archive, "--strip-components=1", "-C", directory], check=True)

    return once(place.home / f"sdist-{project}", version, make)


def npm(place, name, *packages):
    """A directory with `node_modules`."""
    needs("node", "npm")

    def make(directory):
        (directory / "package.json").write_text('{"private": true, "type": "module"}\n')
        run(
            directory, FETCH_SECONDS, "npm", "install", "--silent", "--no-audit", "--no-fund", "--no-progress",
            "--save-exact", *packages,
        )

    return once(place.home / f"npm-{name}", " ".join(packages), make)


def jars(place, name, *artifacts):
    """A class path of Maven artifacts `GROUP:ID:VERSION` and all they need at run time."""
    needs("java", "javac", "mvn")

    def make(directory):
        dependencies = "".join(
            "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>".format(
                *artifact.split(":")
            )
            for artifact in artifacts
        )
        (directory / "pom.xml").write_text(
            '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
            "<groupId>compat</groupId><artifactId>fetch</artifactId><version>1</version><packaging>pom</packaging>"
            f"<dependencies>{dependencies}</dependencies></project>\n"
        )
        run(
            directory, FETCH_SECONDS, "mvn", "-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime",
            f"-DoutputDirectory={directory / 'lib'}",
        )

    return f"{once(place.home / f'jars-{name}', ' '.join(artifacts), make) / 'lib'}/*"


def unpacked_debs(place, name, *packages):
    """Debian packages unpacked, not installed: for what apt would not let stand beside what is there."""
    needs("apt-get", "dpkg-deb")

    def make(directory):
        for attempt in range(2):
            try:
                run(directory, FETCH_SECONDS, "apt-get", "download", *packages)
                break
            except supervise.Failed:
                if attempt:
                    raise
                # Lists that are missing or old are the usual reason.
                run(directory, FETCH_SECONDS, "apt-get", "update", "-qq")
        for archive in sorted(directory.glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", archive, directory / "root"], check=True)
            archive.unlink()

    return once(place.home / f"deb-{name}", " ".join(packages), make) / "root"


def crate(place, name, version):
    """A copy of a crate's package as it is published, with the tests that its authors put in."""
    needs("cargo")

    def make(directory):
        (directory / "fetch" / "src").mkdir(parents=True)
        (directory / "fetch" / "src" / "lib.rs").write_text("")
        (directory / "fetch" / "Cargo.toml").write_text(
            '[package]\nname = "fetch"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n[dependencies]\n'
            f'{name} = {{ version = "={version}", default-features = false }}\n'
        )
        run(directory, FETCH_SECONDS, "cargo", "vendor", "--quiet", "--manifest-path",
            directory / "fetch" / "Cargo.toml", directory / "vendor")
        shutil.move(directory / "vendor" / name, directory / "package")
        shutil.rmtree(directory / "vendor")

    return once(place.home / f"crate-{name}", version, make) / "package"


def copy_if_newer(source, target):
    """Keeps the time stamps of unchanged files, so that build tools rebuild only what changed."""
    for file in pathlib.Path(source).rglob("*"):
        if not file.is_file():
            continue
        copy = target / file.relative_to(source)
        if not copy.exists() or copy.read_bytes() != file.read_bytes():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
