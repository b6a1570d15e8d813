"""Why a guest that is debugged stopped."""

from __future__ import annotations

from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.kvm.exits import Exit

START = "start"  # before the first instruction
BREAKPOINT = "breakpoint"
WATCHPOINT = "watchpoint"
STEP = "step"
EXIT = "exit"  # a VM exit, which the device has answered
INTERRUPT = "interrupt"  # somebody asked for a stop
CRASH = "crash"  # the guest can't go on; its registers can still be read
END = "end"  # the run is over, there are no registers any more


class Stop(NamedTuple):
    """A stop: all vCPUs stand still. `reason` is one of the words of this module.

    vcpu     the number of the vCPU that is the cause
    address  the linear address of that vCPU's next instruction
    data     for a watchpoint, the linear address that it watches
    exit     for an exit, what happened; for a crash, KVM's exit, or None for a kernel's panic
    reply    for an exit that is a read, what the device answered
    detail   for a crash and for the end, the cause in words
    """

    reason: str
    vcpu: int = 0
    address: int = 0
    data: int | None = None
    exit: Exit | None = None
    reply: int = 0
    detail: str = ""
