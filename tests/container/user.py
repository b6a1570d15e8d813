"""An ordinary user of this host, with a range of IDs: as whom root's tests run containers, too."""

import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import ringlet

NAME = os.environ.get("RINGLET_TEST_USER", "backup")
FIRST, COUNT = 3_000_000, 65536  # the range of its own, above those of people
RANGES = [Path("/etc/subuid"), Path("/etc/subgid")]


class User:
    """The user, and a folder of its own."""

    def __init__(self, folder: Path) -> None:
        entry = pwd.getpwnam(NAME)
        self.uid, self.gid = entry.pw_uid, entry.pw_gid
        self.folder = folder
        paths = [os.path.dirname(os.path.dirname(ringlet.__file__)), sysconfig.get_path("purelib")]
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder),
            "PYTHONPATH": ":".join(paths),  # for ringlet, and what it needs
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.cgroup: Path | None = None  # where its programs run, if not in this process' own
        os.chmod(folder, 0o711)
        os.chown(folder, self.uid, self.gid)

    def maps(self, *, ranges: bool) -> dict[str, Any]:
        """linux.uidMappings and gidMappings: root is the user; with `ranges` there are others."""
        more = [{"containerID": 1, "hostID": FIRST, "size": COUNT}] if ranges else []
        return {
            key: [{"containerID": 0, "hostID": own, "size": 1}, *more]
            for key, own in (("uidMappings", self.uid), ("gidMappings", self.gid))
        }

    @contextmanager
    def acting(self) -> Iterator[None]:
        """This process is the user's; what it starts can't be root's again."""
        groups = os.getgroups()
        os.setgroups([])
        os.setresgid(self.gid, self.gid, 0)
        os.setresuid(self.uid, self.uid, 0)
        try:
            yield
        finally:
            os.setresuid(0, 0, 0)
            os.setresgid(0, 0, 0)
            os.setgroups(groups)

    def words(self, *words: str) -> list[str]:
        """The command `words`, as the user, for root to run."""
        user = [f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups"]
        environment = [f"{name}={value}" for name, value in self.environment.items()]
        as_user = ["setpriv", *user, "env", "--ignore-environment", *environment, *words]
        if self.cgroup is None:
            return as_user
        join = 'echo 0 > "$0/cgroup.procs"; exec "$@"'
        return ["/bin/sh", "-c", join, str(self.cgroup), *as_user]

    def run(self, *words: str, **more: Any) -> "subprocess.CompletedProcess[str]":
        """Runs them to their end.

        What is written goes to files: a container keeps its streams, and would keep a pipe open.
        """
        if "input" not in more:
            more["stdin"] = subprocess.DEVNULL
        more = {"cwd": self.folder, "timeout": 60, "text": True, "check": False} | more
        with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
            for file in (stdout, stderr):
                os.fchown(file.fileno(), self.uid, self.gid)
            done = subprocess.run(self.words(*words), stdout=stdout, stderr=stderr, **more)
            for file in (stdout, stderr):
                file.seek(0)
            return subprocess.CompletedProcess(words, done.returncode, stdout.read(), stderr.read())

    def python(self) -> str | None:
        """A Python of this version that the user may run; None if there is none."""
        system = f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"
        for program in (sys.executable, system):
            if self.run(program, "-c", "import click, ringlet.container").returncode == 0:
                return program
        return None


@pytest.fixture
def somebody() -> Iterator[User]:
    """The user, with its range in /etc/subuid and /etc/subgid, which are put back at the end."""
    before = {path: path.read_bytes() if path.exists() else None for path in RANGES}
    folder = Path(tempfile.mkdtemp(prefix="ringlet-user-"))
    try:
        for path in RANGES:
            path.write_text(f"{NAME}:{FIRST}:{COUNT}\n")
            path.chmod(0o644)
        yield User(folder)
    finally:
        shutil.rmtree(folder)
        for path, data in before.items():
            if data is None:
                path.unlink()
            else:
                path.write_bytes(data)


def has_newuidmap() -> bool:
    """Whether the user can map its range."""
    return all(map(shutil.which, ("newuidmap", "newgidmap")))
