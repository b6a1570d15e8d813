"""Traces the system calls of a container: each is an event, as each exit of a VM is.

A container talks to the host's kernel by system calls. A thread of ringlet traces the container's
processes by ptrace, from the execve of the command on. Both ends of a call are seen, and the time
between them: the kernel's, and the two stops themselves.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import ClassVar  # noqa: TC003 (msgspec reads the annotation)

from ringlet.container.seccomp.call_names import CallNames
from ringlet.observe.calls import arguments
from ringlet.observe.calls.call_words import error_name
from ringlet.observe.calls.signatures import CLASSES, SIGNATURES
from ringlet.observe.calls.tracees import I386, X32_BIT, X86_64
from ringlet.observe.trace.events import Column, Event, Part, Subject
from ringlet.observe.trace.words import duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.observe.calls.tracees import Call
    from ringlet.observe.trace.filters import Filter
    from ringlet.observe.trace.summary import Summary

KINDS = tuple(CLASSES)
UNKNOWN = "unknown"  # the name of all calls whose number has none
_WIDE = 160  # characters of a call in a table, so that its result has room, too
CALLS = Subject(
    "system call",
    "process",
    "call",
    (
        Column("time", 10, right=True),
        Column("process", 7, right=True),
        Column("took", 8, right=True),
        Column("system call", 0),
    ),
)


class SystemCall(
    Event, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, gc=False
):
    """A system call.

    time        when the call began, in seconds since the command's execve
    kind        the kind, one of `KINDS`
    process     the id of the process in the container; 0 if it isn't known
    thread      the id of the thread in the container
    host        the id of the thread on the host
    name        the call's name; "unknown" for a number that has none
    number      the call's number
    abi         "i386" or "x32" for a call that isn't one of x86-64
    arguments   in words; addresses in hexadecimal
    result      -1 for a call that fails, None for one that never returns
    error       the name of the error, such as ENOENT
    took        seconds from the begin of the call to its end, as the tracer saw them
    """

    SUBJECT: ClassVar[Subject] = CALLS

    process: int
    thread: int
    host: int
    name: str
    number: int
    abi: str = ""
    arguments: tuple[str, ...]
    result: int | None = None
    error: str = ""
    took: float

    @property
    def actor(self) -> int:
        """The thread's id in the container: the calls of a thread follow each other."""
        return self.thread

    @property
    def group(self) -> str:
        """The call's name."""
        return self.name

    @property
    def title(self) -> str:
        """The call's name, and its error if it has failed."""
        return f"{self.name} {self.error}" if self.error else self.name

    @property
    def seconds(self) -> float:
        """How long the call took."""
        return self.took

    @property
    def parts(self) -> tuple[Part, ...]:
        """The call as a whole."""
        return (Part("in a system call", self.time, self.took),)

    @property
    def text(self) -> str:
        """The call as a C programmer would write it, and its result."""
        return f"{self._call} = {self._result}"

    @property
    def _call(self) -> str:
        name = self.name if self.name != UNKNOWN else f"unknown {self.number:#x}"
        abi = f"{self.abi}:" if self.abi else ""
        return f"{abi}{name}({', '.join(self.arguments)})"

    @property
    def _result(self) -> str:
        architecture = I386 if self.abi == "i386" else X86_64
        return arguments.result_text(self.name, architecture, self.result, self.error)

    def cells(self) -> tuple[str, ...]:
        """Returns the texts for the columns."""
        process = str(self.process or "?")
        if self.thread != self.process:
            process += f"/{self.thread or '?'}"
        call = self._call
        if len(call) > _WIDE:
            call = f"{call[:_WIDE]}...)"
        return (f"{self.time:.6f}", process, duration(self.took), f"{call} = {self._result}")


class Calls:
    """Makes events of the system calls that `Tracees` tells of.

    The calls that `wanted` admits are counted in `summary`, and gathered in `batch`. With
    `only_errors`, these are the calls that fail. Without `shows`, the batch stays empty, and no
    argument is looked at.
    """

    def __init__(
        self, wanted: Filter, summary: Summary, *, shows: bool, only_errors: bool = False
    ) -> None:
        self.batch: deque[SystemCall] = deque()  # another thread may take from it
        self.start: int | None = None  # the begin of the first call: CLOCK_MONOTONIC, nanoseconds
        self._summary = summary
        self._only_errors = only_errors
        self._wanted = wanted
        self._any_time = wanted.since == 0 and wanted.until == inf
        self._left = wanted.most if shows else 0
        self._names = CallNames()
        self._known: dict[tuple[int, int], _Known] = {}  # of calls that exist, so there is an end

    def begin(self, call: Call) -> None:
        """Notes what a call is, and its arguments, which the call may change."""
        if self.start is None:
            self.start = call.time
        known = self._known.get((call.architecture, call.number)) or self._find(call)
        actors = self._wanted.actors
        if not known.is_wanted or (actors and call.thread.process not in actors):
            return
        if self._any_time or self._wanted.admits_time((call.time - self.start) / 1e9):
            words = arguments.begin(call, known.parameters) if self._left > 0 else None
            call.words = (known, words)

    def _find(self, call: Call) -> _Known:
        name = self._names.find(call.architecture, call.number)
        known = _Known(name or UNKNOWN, call, self._wanted, self._summary)
        if name:
            self._known[call.architecture, call.number] = known
        return known

    def end(self, call: Call, time: int, result: int | None, is_error: bool) -> None:
        """Counts the call, and adds it to the batch."""
        if self.start is None or call.words is None or (self._only_errors and not is_error):
            return
        known, words = call.words
        took = time - call.time
        known.times.add(took)
        known.times.errors += is_error
        if words is None or self._left <= 0:
            return
        self._left -= 1
        thread = call.thread
        error = error_name(-result) if is_error and result is not None else ""
        self.batch.append(
            SystemCall(
                time=(call.time - self.start) / 1e9,
                kind=known.kind,
                process=thread.process,
                thread=thread.inside,
                host=thread.id,
                name=known.name,
                number=call.number,
                abi=known.abi,
                arguments=tuple(arguments.end(call, known.parameters, words, result)),
                result=-1 if error else result,
                error=error,
                took=took / 1e9,
            )
        )


class _Known:
    """What is known of all calls with one number."""

    __slots__ = ("abi", "is_wanted", "kind", "name", "parameters", "times")

    def __init__(self, name: str, call: Call, wanted: Filter, summary: Summary) -> None:
        self.name = name
        self.abi = _abi(call)
        self.kind, _ = SIGNATURES.get(name, ("other", ()))
        self.parameters, _ = arguments.parameters(name, call.architecture)
        self.is_wanted = wanted._replace(actors=frozenset()).admits(self.kind, name, 0)
        self.times = summary.times(self.kind, name)


def _abi(call: Call) -> str:
    if call.architecture == I386:
        return "i386"
    return "x32" if call.number & X32_BIT else ""
