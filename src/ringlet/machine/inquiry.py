"""Asks the vCPUs of a running guest what they do.

Only the thread of a vCPU can ask KVM for the vCPU's registers. So each vCPU is kicked, and its loop
answers for the vCPU. The thread of the last vCPU that answers hands over all answers. A vCPU that
waits for the host, for example for a slow reader of the guest's output, doesn't answer. After a
second, the others no longer wait for this vCPU.
"""

from __future__ import annotations

import time
from threading import Lock

from ringlet.machine.interrupts import interrupt_troubles
from ringlet.machine.situation import Situation, examine_vcpu

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ringlet.kvm.vcpu import Vcpu
    from ringlet.machine.machine import Machine
    from ringlet.machine.situation import VcpuStatus

PATIENCE = 1.0  # seconds


class Inquiry:
    """Answers once, by calling `show` on the thread of a vCPU."""

    def __init__(self, machine: Machine, show: Callable[[Situation], object]) -> None:
        self._machine = machine
        self._show = show
        self._deadline = time.monotonic() + PATIENCE
        self._statuses: dict[int, VcpuStatus] = {}
        self._lock = Lock()
        self._shown = False

    def answer(self, vcpu: Vcpu) -> bool:
        """Notes what `vcpu` does, on the vCPU's thread; returns whether the inquiry is over."""
        with self._lock:
            if vcpu.number not in self._statuses:
                machine = self._machine
                self._statuses[vcpu.number] = examine_vcpu(
                    vcpu, machine.memory, machine.symbols, machine.devices
                )
            missing = len(self._machine.vm.vcpus) - len(self._statuses)
            if self._shown or (missing and time.monotonic() < self._deadline):
                return self._shown
            self._shown = True
        statuses = [status for _, status in sorted(self._statuses.items())]
        self._show(Situation(statuses, _interrupts(self._machine, statuses), missing))
        return True


def _interrupts(machine: Machine, statuses: list[VcpuStatus]) -> list[str]:
    """Returns what is wrong with the interrupts, if a vCPU waits for one.

    Linux masks the lines that it doesn't use, and waits most of the time.
    """
    if machine.console_log is not None or not any(
        status.waits_for_interrupt for status in statuses
    ):
        return []
    return interrupt_troubles(machine.vm, machine.devices)


def examine_machine(machine: Machine) -> Situation:
    """Returns what all vCPUs did when the run ended; call this after the run."""
    statuses = [
        examine_vcpu(vcpu, machine.memory, machine.symbols, machine.devices)
        for vcpu in machine.vm.vcpus
    ]
    return Situation(statuses, _interrupts(machine, statuses))
