"""A program of ours: a client's library, driven by code in scripts/compat.d/programs that prints what it does."""

import os
import subprocess

from suite import Streamed

LIST_SECONDS = 60


class Program(Streamed):
    """Subclasses say how the program is called; it follows the manner of programs/harness.py in any language."""

    def arguments(self, place):
        raise NotImplementedError

    def environment(self, place):
        """What the program wants to know beside the broker."""
        return {}

    def command(self, names, address, place):
        environment = {
            **os.environ,
            **self.environment(place),
            "COMPAT_BOOTSTRAP": address,
            "COMPAT_CASES": ",".join(names),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return self.arguments(place), environment, place.home

    def cases(self, place):
        answer = subprocess.run(
            [str(argument) for argument in self.arguments(place)] + ["--list"],
            capture_output=True, text=True, timeout=LIST_SECONDS, cwd=place.home,
            env={**os.environ, **self.environment(place), "PYTHONDONTWRITEBYTECODE": "1"},
        )
        if answer.returncode != 0:
            raise subprocess.CalledProcessError(answer.returncode, self.name, answer.stdout, answer.stderr)
        return answer.stdout.split()
