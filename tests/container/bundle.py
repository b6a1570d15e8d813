"""Bundles for tests: a root with busybox, and a config.json that any host can run."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ringlet.container.spec.default import default

from ..leftovers import cgroups

OCI = [sys.executable, "-c", "from ringlet.oci.main import main; main()"]
APPLETS = [
    "cat", "echo", "head", "id", "kill", "ls", "readlink", "sh", "sleep", "stty", "tail",
    "timeout", "true",
]  # fmt: skip


class Bundle:
    """A bundle in `folder`, and a root for the state of its containers."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "bundle"
        self.root = folder / "state"
        self.rootfs = self.path / "rootfs"
        (self.rootfs / "bin").mkdir(parents=True)
        busybox = shutil.which("busybox")
        assert busybox is not None
        shutil.copy(busybox, self.rootfs / "bin" / "busybox")
        for name in APPLETS:
            (self.rootfs / "bin" / name).hardlink_to(self.rootfs / "bin" / "busybox")

        self.config: Any = json.loads(json.dumps(default()))
        self.config["process"].update(terminal=False, rlimits=[])
        self.config["linux"]["cgroupsPath"] = f"/ringlet-bundle-{os.getpid()}"

    def write(self, script: str | None = None) -> None:
        """Writes config.json; the command is a shell with `script`."""
        if script is not None:
            self.config["process"]["args"] = ["/bin/sh", "-c", script]
        (self.path / "config.json").write_text(json.dumps(self.config))

    def oci(self, *words: str, **more: Any) -> "subprocess.CompletedProcess[str]":
        """Runs `ringlet-oci WORDS` to its end.

        What it writes goes to files: a container keeps its streams, and would keep a pipe open.
        """
        for unused in ("capture_output", "text"):
            more.pop(unused, None)
        with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
            streams = {"stdin": subprocess.DEVNULL, "stdout": stdout}
            if "input" in more:
                del streams["stdin"]
                more["text"] = True
            if more.get("stderr") == subprocess.PIPE:
                del more["stderr"]
            more = {**streams, "stderr": stderr, "timeout": 60, "check": False} | more
            done = subprocess.run([*OCI, "--root", str(self.root), *words], **more)
            for file in (stdout, stderr):
                file.seek(0)
            return subprocess.CompletedProcess(
                done.args, done.returncode, stdout.read(), stderr.read()
            )

    def run(self, script: str | None = None, *words: str, **more: Any) -> Any:
        """`ringlet-oci run` of the shell's script."""
        self.write(script)
        return self.oci("run", "--bundle", str(self.path), *words, "one", **more)

    def state(self) -> Any:
        """What `state` shows of the container."""
        return json.loads(self.oci("state", "one").stdout)

    def left(self) -> list[str]:
        """What there is of it that shouldn't be, once it has been deleted."""
        left = [str(path) for path in self.root.glob("*")]
        left += map(str, cgroups(self.config["linux"]["cgroupsPath"][1:]))
        for mounts in Path("/proc").glob("[0-9]*/mountinfo"):
            try:
                text = mounts.read_text()
            except OSError:  # it has ended
                continue
            if str(self.path) in text:
                left.append(str(mounts))
        return left
