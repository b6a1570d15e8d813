"""Traces a run in the foreground: `ringlet trace`, and `ringlet boot --trace`."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager

from ringlet.closing import Closing
from ringlet.errors import ConfigError, RingletError
from ringlet.machine.control import OUTPUT_CLOSED
from ringlet.observe.exits.exit_event import EXITS
from ringlet.observe.exits.tracer import ExitTracer
from ringlet.observe.trace import formats
from ringlet.observe.trace.filters import Filter, check_names
from ringlet.observe.trace.recorder import BUFFER, Recorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Any, Self

    from ringlet.machine.machine import Machine
    from ringlet.observe.trace.events import Subject
    from ringlet.observe.trace.summary import Summary


class Output(Closing):
    """Writes a trace to standard error, or to the file `output`; the base of observers of a run.

    format        one of `formats.NAMES`
    only_summary  whether to leave out the single events
    buffer        how many events may wait for a slow reader
    """

    def __init__(
        self,
        subject: Subject,
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
                    f"the format {format} shows {subject.event}s, and --summary has none",
                    "leave one out",
                )
        if buffer < 1:
            raise ConfigError(
                f"a buffer of {buffer} {subject.event}s is too small", "take at least 1"
            )
        self._subject = subject
        self._format = format
        self._only_summary = only_summary
        self._output = output
        self._buffer = buffer
        self._fd = -1
        self._recorder: Recorder | None = None
        self._summary: Summary | None = None

    def __enter__(self) -> Self:
        """Opens the file. Raises `RingletError`."""
        self._fd = os.dup(2) if self._output is None else open_output(self._output)
        return self

    def begin(self, title: str, on_error: Callable[[], object]) -> Callable[..., object] | None:
        """Begins to write; returns the function that takes events, None if none are shown.

        `on_error` is called on another thread once the trace can't be written.
        """
        format = formats.make(
            self._format,
            self._subject,
            title=title,
            terminal=os.isatty(self._fd),
            most=self._buffer,
        )
        fd, self._fd = self._fd, -1
        self._recorder = Recorder(format, fd, limit=self._buffer, on_error=on_error)
        return None if self._only_summary else self._recorder.take

    def end(self, summary: Summary) -> None:
        """Notes the summary, which is written at the close."""
        self._summary = summary

    def close(self) -> None:
        """Writes the rest, and waits for the reader. Raises `RingletError` if that fails."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._recorder is None:
            return
        if self._summary is None:
            self._recorder.close()
            return
        self._recorder.finish(self._summary)
        if self._recorder.missing and self._output is not None:
            from ringlet.observe.trace.summary import missing

            print(
                f"ringlet: {missing(self._recorder.missing, self._subject.event)}", file=sys.stderr
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes the trace; an earlier error counts more than one of the trace's."""
        try:
            self.close()
        except RingletError:
            if error is None:
                raise


class ExitTrace(Output):
    """An observer for `attend` that traces the exits of a machine."""

    def __init__(self, wanted: Filter | None = None, **options: Any) -> None:
        super().__init__(EXITS, **options)
        self._wanted = wanted or Filter()

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
        image = machine.config.image
        title = "an image" if isinstance(image, bytes) else os.fspath(image)
        take = self.begin(title, lambda: machine.control.finish(OUTPUT_CLOSED))
        tracer = ExitTracer(machine, wanted, take)
        self.end(tracer.summary)
        try:
            yield
        finally:
            tracer.finish()


def open_output(path: str) -> int:
    """Returns a descriptor for the file of a trace, which is emptied. Raises `RingletError`."""
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise RingletError(
            f"can't write {path}: {error.strerror}", "name a file that you may write"
        ) from None
