"""Traces the exits of a machine in the foreground: `ringlet trace`, and `ringlet boot --trace`."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager

from ringlet.errors import ConfigError, RingletError
from ringlet.machine.control import OUTPUT_CLOSED
from ringlet.observe import formats
from ringlet.observe.exits import EXITS
from ringlet.observe.filters import Filter, check_names
from ringlet.observe.recorder import BUFFER, Recorder
from ringlet.observe.tracer import ExitTracer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from ringlet.machine.machine import Machine


class ExitTrace:
    """An observer for `attend` that writes a trace to standard error, or to the file `output`.

    format        one of `formats.NAMES`
    only_summary  whether to leave out the single exits
    buffer        how many exits may wait for a slow reader
    """

    def __init__(
        self,
        wanted: Filter | None = None,
        *,
        format: str = "text",
        only_summary: bool = False,
        output: str | None = None,
        buffer: int = BUFFER,
    ) -> None:
        if format in formats.FOR_FILES:
            if output is None:
                raise ConfigError(
                    f"a trace in the format {format} is for a file", "name it: --output FILE"
                )
            if only_summary:
                raise ConfigError(
                    f"the format {format} shows exits, and --summary has none", "leave one out"
                )
        if buffer < 1:
            raise ConfigError(f"a buffer of {buffer} exits is too small", "take at least 1")
        self._wanted = wanted or Filter()
        self._format = format
        self._only_summary = only_summary
        self._output = output
        self._buffer = buffer
        self._fd = -1
        self._recorder: Recorder | None = None
        self._tracer: ExitTracer | None = None

    def __enter__(self) -> ExitTrace:
        """Opens the file. Raises `RingletError`."""
        self._fd = os.dup(2) if self._output is None else open_output(self._output)
        return self

    @contextmanager
    def watch(self, machine: Machine) -> Iterator[None]:
        """Traces `machine`. Raises `ConfigError` if a filter names what the machine lacks."""
        wanted = self._wanted
        check_names(wanted.groups, (placed.name for placed in machine.devices), "device")
        cpus = len(machine.vm.vcpus)
        for number in wanted.actors:
            if number >= cpus:
                raise ConfigError(
                    f"there is no vCPU {number}", f"the last one is {cpus - 1}; --cpus gives more"
                )
        title = machine.config.image
        format = formats.make(
            self._format,
            EXITS,
            title="an image" if isinstance(title, bytes) else os.fspath(title),
            terminal=os.isatty(self._fd),
            most=self._buffer,
        )
        fd, self._fd = self._fd, -1
        self._recorder = Recorder(
            format,
            fd,
            limit=self._buffer,
            on_error=lambda: machine.control.finish(OUTPUT_CLOSED),
        )
        take = None if self._only_summary else self._recorder.take
        self._tracer = ExitTracer(machine, wanted, take)
        try:
            yield
        finally:
            self._tracer.finish()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Writes the rest, and waits for the reader. Raises `RingletError` if that fails."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._recorder is None:
            return
        if self._tracer is None:
            self._recorder.close()
            return
        try:
            self._recorder.finish(self._tracer.summary)
        except RingletError:
            if error is None:
                raise
        if self._recorder.missing and self._output is not None:
            from ringlet.observe.summary import missing

            print(f"ringlet: {missing(self._recorder.missing, EXITS.event)}", file=sys.stderr)


def open_output(path: str) -> int:
    """Returns a descriptor for the file of a trace, which is emptied. Raises `RingletError`."""
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise RingletError(
            f"can't write {path}: {error.strerror}", "name a file that you may write"
        ) from None
