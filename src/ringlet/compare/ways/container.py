"""A container of ringlet: `ringlet run`, or `Container` in this process."""

from __future__ import annotations

import os
from contextlib import suppress

from ringlet.compare.instances.launched import LaunchedSandbox
from ringlet.compare.instances.spawned import Spawned
from ringlet.compare.instances.streams import Streams
from ringlet.compare.lab import ringlet_command
from ringlet.compare.ways.base import PROCESSES, CommandWay, size
from ringlet.container.container import Container
from ringlet.host.workload import Volume, Workload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringlet.compare.instances import Request
    from ringlet.compare.instances.launched import Stdio


class Way(CommandWay):
    """The workload in a container, with the defaults of `ringlet run`."""

    name = "container"
    title = "container"
    about = "A container of ringlet's: the host's kernel, behind namespaces, limits and a filter."

    def command(self, request: Request) -> list[str]:
        """Returns `ringlet run ROOTFS -- /work WORDS`."""
        command = [*ringlet_command(), "run", str(self._lab.rootfs)]
        if request.disk is not None:
            command += ["--volume", f"{request.disk}:{self.disk}"]
        if request.limited:
            command += ["--memory", size(request.memory), "--pids", str(PROCESSES), "--cpus", "1"]
        return [*command, "--", "/work", *request.words]

    def spawn(self, request: Request) -> Run:
        """Starts the command as a process of its own."""
        return Run(self.command(request), input=request.reads_input)

    def launch(self, request: Request) -> LaunchedSandbox[Container]:
        """Starts a `Container` with the same configuration."""

        def make(stdio: Stdio) -> Container:
            return Container(config(self._lab.rootfs, request), stdio=stdio)

        streams = Streams(self.command(request), input=request.reads_input)
        return LaunchedSandbox(make, streams, _steps, lambda container: [container.pid])


class Run(Spawned):
    """A run of `ringlet run`, whose processes include its guard (container/launch/guard.py)."""

    def _roots(self) -> list[int]:
        return [root for own in super()._roots() for root in (own, *_guards(own))]


def _steps(container: Container) -> dict[str, int | None]:
    timings = container.timings
    return {
        "clone": timings.cloned,
        "mounts": timings.mounted,
        "pivot": timings.pivoted,
        "created": timings.created,
        "exec": timings.started,
        "end": timings.end,
    }


def _guards(owner: int) -> Iterator[int]:
    """Finds the guard of the process `owner` by its pidfd of `owner`; it is no child of `owner`."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/fdinfo/1") as file:
                if f"Pid:\t{owner}\n" in file:
                    yield int(name)


def config(rootfs: object, request: Request, disk: str = CommandWay.disk) -> Workload:
    """Returns the configuration of the container, which other runtimes get as well."""
    return Workload(
        rootfs=str(rootfs),
        command=["/work", *request.words],
        volumes=[] if request.disk is None else [Volume(request.disk, disk)],
        memory=request.memory if request.limited else None,
        pids=PROCESSES if request.limited else None,
        cpus=1 if request.limited else None,
    )
