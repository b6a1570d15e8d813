"""Traces a command in a container, for tests."""

import os
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from ringlet.container.container import Container, ContainerResult
from ringlet.host.workload import Workload
from ringlet.observe.calls.call_event import SystemCall
from ringlet.observe.calls.call_tracer import CallTracer
from ringlet.observe.trace.filters import Filter

from ..container.rootfs import make_rootfs


class Traced(NamedTuple):
    """What a trace has shown of a command, what the command wrote, and how it ended."""

    calls: list[SystemCall]
    output: str
    result: ContainerResult
    tracer: CallTracer

    def of(self, name: str) -> list[SystemCall]:
        return [call for call in self.calls if call.name == name]

    def text(self, name: str) -> str:
        """The one call of this name."""
        (call,) = self.of(name)
        return call.text

    @property
    def names(self) -> list[str]:
        return [call.name for call in self.calls]


def make_traced_rootfs(path: Path) -> Path:
    """A small system with the program `caller` in it: caller.c."""
    rootfs = make_rootfs(path)
    source = Path(__file__).with_name("caller.c")
    flags = ["-O1", "-static", "-pthread", "-w"]
    subprocess.run(["gcc", *flags, source, "-o", rootfs / "bin/caller"], check=True)
    return rootfs


def trace(
    rootfs: Path,
    *command: str,
    wanted: Filter | None = None,
    only_errors: bool = False,
    **options: Any,
) -> Traced:
    """Runs the command in a container, to its end."""
    calls: list[SystemCall] = []
    reader, writer = os.pipe()
    with open(os.devnull, "rb") as null, open(reader, "rb") as output:
        try:
            with (
                Container(
                    Workload(rootfs=rootfs, command=command, **options),
                    stdio=(null.fileno(), writer, writer),
                ) as container,
                CallTracer(container, wanted, calls.extend, only_errors=only_errors) as tracer,
            ):
                result = container.run()
        finally:
            os.close(writer)
        return Traced(calls, output.read().decode(), result, tracer)
