"""The interrupt state of a guest that stands still, for people to read."""

from __future__ import annotations

from struct import Struct

from ringlet.kvm.core import lib
from ringlet.kvm.irqchip import read_io_apic, read_local_apic, read_pics
from ringlet.machine.interrupts import interrupt_troubles, local_apic_trouble

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.kvm.vcpu import Vcpu
    from ringlet.machine.machine import Machine

_RFLAGS_IF = 1 << 9
_EVENTS = Struct("<4BI4B4B")  # struct kvm_vcpu_events: exception, error code, interrupt, NMI


def interrupt_lines(machine: Machine) -> list[str]:
    """Returns the state of each vCPU and of each interrupt controller, and what looks wrong."""
    lines = [line for vcpu in machine.vm.vcpus for line in _vcpu_lines(vcpu)]
    io_apic = read_io_apic(machine.vm)
    lines.append("I/O APIC, the lines that aren't masked or that wait:")
    for number, entry in enumerate(io_apic.table):
        waits = io_apic.requested >> number & 1
        if waits or not entry.masked:
            trigger = "level" if entry.level else "edge"
            words = f", {trigger}{', masked' * entry.masked}{', waits' * waits}"
            lines.append(f"  {number}: vector {entry.vector:#x}{words}")
    for number, pic in enumerate(read_pics(machine.vm)):
        lines.append(
            f"PIC {number}: requested {pic.requested:#010b}, masked {pic.masked:#010b}, in service "
            f"{pic.in_service:#010b}, vectors from {pic.base:#x}"
        )
    return lines + interrupt_troubles(machine.vm, machine.devices)


def _vcpu_lines(vcpu: Vcpu) -> list[str]:
    enabled = "on" if vcpu.registers.rflags & _RFLAGS_IF else "off"
    apic = read_local_apic(vcpu)
    power = "enabled" if apic.enabled else "disabled"
    timer = "masked" if apic.timer is None else f"vector {apic.timer:#x}"
    lines = [
        f"vCPU {vcpu.number}: interrupts {enabled}{_waiting(vcpu)}",
        f"  local APIC {power}, requested {_vectors(apic.requested)}, in service "
        f"{_vectors(apic.in_service)}, timer {timer}",
    ]
    trouble = local_apic_trouble(apic)
    return [*lines, f"  {trouble}"] if trouble else lines


def _vectors(bits: int) -> str:
    return " ".join(f"{vector:#x}" for vector in range(256) if bits >> vector & 1) or "none"


def _waiting(vcpu: Vcpu) -> str:
    """Returns the events that KVM gives the vCPU next, as a part of a sentence."""
    events = _EVENTS.unpack_from(vcpu.get_state(lib.RINGLET_STATE_EVENTS))
    injected, vector, _, pending, _, interrupt, number, _, shadow, nmi, nmi_pending, *_ = events
    words = []
    if injected or pending:
        words.append(f"exception {vector}")
    if interrupt:
        words.append(f"interrupt {number:#x}")
    if nmi or nmi_pending:
        words.append("NMI")
    if shadow:
        words.append("none before the next instruction is over")
    return f", next: {', '.join(words)}" if words else ""
