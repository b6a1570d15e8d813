"""What every trace is made of: events, which formats, filters and the summary take alike.

An exit of a VM (`exits.py`) and a system call of a container are events. An event belongs to an
actor (a vCPU, a process), is of a kind, and belongs to a group (a device, a system call).
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import msgspec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Column(NamedTuple):
    """A column of the table for people: its heading, its width, and whether it is aligned right."""

    heading: str
    width: int
    right: bool = False


class Subject(NamedTuple):
    """The words for what a trace shows: of an `event`, its `actor` and its `group`; one of each."""

    event: str
    actor: str
    group: str
    columns: tuple[Column, ...]


class Part(NamedTuple):
    """A part of an event's time, in seconds; `start` counts from the start of the trace."""

    name: str
    start: float
    seconds: float


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """An event. Its fields are those of a line of `--json`, in their order.

    `time` is when the event was seen, in seconds since the start of the trace. Each subclass has
    its own fields, `SUBJECT`, and the properties below.
    """

    SUBJECT: ClassVar[Subject]

    time: float
    kind: str

    @property
    def actor(self) -> int:
        """The number of the vCPU or the process."""
        raise NotImplementedError

    @property
    def group(self) -> str:
        """The name of the device or of the system call; "" for an event that has none."""
        raise NotImplementedError

    @property
    def title(self) -> str:
        """A few words for a place with little room, such as a bar of a timeline."""
        raise NotImplementedError

    @property
    def start(self) -> float:
        """When the time that `seconds` counts began, in seconds since the start of the trace."""
        return self.time

    @property
    def seconds(self) -> float:
        """How long the event took: the time that the summary counts."""
        raise NotImplementedError

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts of the event's time, in order; parts before `start` are what led to it."""
        raise NotImplementedError

    def cells(self) -> tuple[str, ...]:
        """Returns the texts for the columns of `SUBJECT`, for people. They may hold anything."""
        raise NotImplementedError

    def as_json(self) -> dict[str, Any]:
        """Returns the fields that have a value, as plain values."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return fields
