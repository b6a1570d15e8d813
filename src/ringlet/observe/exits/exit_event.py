"""An exit of a VM as an event of a trace."""

from __future__ import annotations

from typing import ClassVar, Literal  # noqa: TC003 (msgspec evaluates the annotations)

from ringlet.observe.trace.events import Column, Event, Part, Subject
from ringlet.observe.trace.words import duration

# The registers that hold a character, which is shown beside the number.
_CHARACTERS = ("THR", "RBR")

EXITS = Subject(
    "exit",
    "vCPU",
    "device",
    (
        Column("seconds", 9, right=True),
        Column("vCPU", 4, right=True),
        Column("exit", 11),
        Column("at", 5),
        Column("register", 16),
        Column("value", 8),
        Column("instruction", 28),
        Column("in", 15),
        Column("guest", 7, right=True),
        Column("KVM", 7, right=True),
        Column("Python", 7, right=True),
    ),
)


class Exit(
    Event, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, gc=False
):
    """An exit. A field that doesn't concern this kind of exit, or isn't known, is None.

    time         when the exit reached ringlet, in seconds since the start of the trace
    kind         the kind, one of `ringlet.kvm.vcpu.KIND_NAMES`
    vcpu         the number of the vCPU
    access       whether the guest read or wrote
    port         the port, or
    address      the guest-physical address
    size         the width of the access in bytes
    count        how many accesses a string instruction makes in this exit
    value        what the guest wrote, or what the device answered
    device       the name of the device
    register     the name of the device's register
    instruction  the instruction that caused the exit
    rip          the linear address of this instruction
    function     the symbol there, and the offset
    guest        seconds in the guest before the exit: estimated, see docs/trace.md
    kvm          seconds in KVM: estimated
    python       seconds in ringlet: the device and the loop; None at the end of the run
    """

    SUBJECT: ClassVar[Subject] = EXITS

    vcpu: int
    access: Literal["read", "write"] | None = None
    port: int | None = None
    address: int | None = None
    size: int | None = None
    count: int | None = None
    value: int | None = None
    device: str | None = None
    register: str | None = None
    instruction: str | None = None
    rip: int | None = None
    function: str | None = None
    guest: float
    kvm: float
    python: float | None = None

    @property
    def actor(self) -> int:
        """The number of the vCPU."""
        return self.vcpu

    @property
    def group(self) -> str:
        """The name of the device, or ""."""
        return self.device or ""

    @property
    def title(self) -> str:
        """The device, the register and the direction; else the kind."""
        words = (self.device or ("" if self.access is None else "no device"), self.register)
        named = " ".join(word for word in words if word)
        return f"{named} {self.access}" if named else self.kind

    @property
    def start(self) -> float:
        """When the guest left, as far as it is known."""
        return max(self.time - self.kvm, 0.0)

    @property
    def seconds(self) -> float:
        """The time outside the guest: in KVM and in ringlet."""
        return self.kvm + (self.python or 0.0)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The guest's time before the exit, then KVM's and Python's."""
        start = self.start
        inside = (Part("KVM", start, self.kvm), Part("Python", self.time, self.python or 0.0))
        guest = min(self.guest, start)
        return (Part("guest", start - guest, guest), *inside) if guest else inside

    def cells(self) -> tuple[str, ...]:
        """Returns the texts for people."""
        at = self.port if self.address is None else self.address
        register = f"{self.device} {self.register}" if self.device else ""
        return (
            f"{self.time:.6f}",
            str(self.vcpu),
            f"{self.kind} {self.access}" if self.access else self.kind,
            "" if at is None else f"{at:#x}",
            register if register or self.access is None else "no device",
            self._value(),
            self.instruction or "",
            self.function or ("" if self.rip is None else f"{self.rip:#x}"),
            duration(self.guest),
            duration(self.kvm),
            "" if self.python is None else duration(self.python),
        )

    def _value(self) -> str:
        if self.value is None:
            return "" if self.count is None else f"{self.count} times"
        text = f"{self.value:#0{2 + 2 * (self.size or 1)}x}"
        if self.size == 1 and self.register in _CHARACTERS and 0x20 <= self.value < 0x7F:
            return f"{text} {chr(self.value)!r}"
        return text
