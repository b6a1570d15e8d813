"""A container that a test makes step by step, and what is left of it."""

import os
import select
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ringlet.container.launch import launch
from ringlet.container.launch.description import Creation
from ringlet.container.launch.helper import Launched, LaunchError
from ringlet.container.spec.config_json import check
from ringlet.container.state import HostProcess

from .rootfs import make_rootfs

KINDS = ("mount", "uts", "ipc", "pid", "network", "cgroup")
MAPS: Any = {
    "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
    "gidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
}


class Box:
    """A container to be: its bundle and configuration, and what it prints."""

    def __init__(self, folder: Path) -> None:
        self.bundle = folder / "bundle"
        self.folder = folder / "one"
        self.folder.mkdir()
        self.rootfs = make_rootfs(self.bundle / "rootfs")
        self.output = tempfile.TemporaryFile()  # noqa: SIM115
        self.running: list[Launched] = []
        self.config: Any = {
            "ociVersion": "1.2.0",
            "root": {"path": "rootfs"},
            "process": {
                "cwd": "/",
                "user": {"uid": 0, "gid": 0},
                "args": ["/bin/true"],
                "env": ["PATH=/bin"],
                "capabilities": {},
            },
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "options": ["nosuid", "mode=755"]},
                {
                    "destination": "/dev/pts",
                    "type": "devpts",
                    "options": ["newinstance", "ptmxmode=0666", "mode=0620"],
                },
            ],
            "linux": {"namespaces": [{"type": kind} for kind in KINDS]},
        }

    @property
    def process(self) -> Any:
        return self.config["process"]

    @property
    def linux(self) -> Any:
        return self.config["linux"]

    def mount(self, destination: str, **more: Any) -> None:
        self.config["mounts"].append({"destination": destination} | more)

    def new(self, *kinds: str) -> None:
        self.linux["namespaces"] += [{"type": kind} for kind in kinds]
        if "user" in kinds:
            self.linux.update(MAPS)
            os.chown(self.rootfs, 100000, 100000)

    def outside(self, id: int) -> int:
        """What a user of the container, and the group of the same number, is on the host."""
        for one in self.linux.get("uidMappings", ()):
            if 0 <= id - one["containerID"] < one["size"]:
                return int(one["hostID"]) + id - int(one["containerID"])
        return id

    def create(
        self,
        script: str | None = None,
        on_runtime: Callable[[int], None] = lambda pid: None,
        **more: Any,
    ) -> Launched:
        if script is not None:
            self.process["args"] = ["/bin/sh", "-c", script]
        null = os.open("/dev/null", os.O_RDONLY)
        arguments: dict[str, Any] = {
            "cgroup": None,
            "folder": str(self.folder),
            "stdio": (null, self.output.fileno(), self.output.fileno()),
        }
        try:
            config = check(self.config)
            creation = Creation(config, str(self.bundle), **(arguments | more))
            made = launch.create(creation, on_runtime=on_runtime)
        finally:
            os.close(null)
        self.running.append(made)
        self.last = HostProcess(made.pid)
        return made

    def start(self) -> None:
        has_hooks = "startContainer" in self.config.get("hooks", {})
        launch.start(str(self.folder), self.last, has_hooks=has_hooks)

    def forget(self) -> None:
        """Forgets a container that was never started, so that the next one can be made."""
        for name in launch.FIFOS:
            (self.folder / name).unlink(missing_ok=True)

    def wait(self, made: Launched) -> int:
        self.running.remove(made)
        os.close(made.pidfd)
        return os.waitstatus_to_exitcode(os.waitpid(made.pid, 0)[1])

    def alive(self, made: Launched) -> bool:
        return not select.select([made.pidfd], [], [], 0.01)[0]

    def printed(self) -> str:
        self.output.seek(0)
        text = self.output.read().decode()
        self.output.seek(0)
        self.output.truncate()
        return text

    def run(self, script: str | None = None, **more: Any) -> str:
        """What it prints; its status has to be 0."""
        made = self.create(script, **more)
        self.start()
        status = self.wait(made)
        printed = self.printed()
        assert status == 0, printed
        return printed

    def fails(self, step: str, **more: Any) -> LaunchError:
        """The error of `step`, and nothing is left."""
        with pytest.raises(LaunchError) as caught:
            self.create(**more)
        assert caught.value.step == step, caught.value.message
        self.left_nothing()
        return caught.value

    def left_nothing(self) -> None:
        assert list(self.folder.iterdir()) == []
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        assert str(self.bundle) not in Path("/proc/self/mountinfo").read_text()

    def close(self) -> None:
        # The last one first: process 1 of a namespace is gone only after all others in it.
        for made in reversed(self.running.copy()):
            os.kill(made.pid, signal.SIGKILL)
            self.wait(made)
        self.output.close()


def namespace(pid: int | str, name: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{name}")
