"""The state of the interrupt controllers in KVM, and of the events that wait for a vCPU.

Source: Intel SDM volume 3, 11.4 (local APIC); the data sheets 82093AA (I/O APIC) and 8259A (PIC);
struct kvm_pic_state, kvm_ioapic_state and kvm_vcpu_events of the KVM API.
"""

from __future__ import annotations

from struct import Struct

from ringlet.kvm.core import lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.kvm.vcpu import Vcpu
    from ringlet.kvm.vm import Vm

_RFLAGS_IF = 1 << 9
_IO_APIC = 2
_PINS = 24
_IO_APIC_HEAD = Struct("<Q4I")  # base address, selected register, ID, IRR, padding
_DELIVERY = ("fixed", "lowest priority", "SMI", "reserved", "NMI", "INIT", "reserved", "ExtINT")
_TIMER_MODES = ("one shot", "periodic", "TSC deadline", "reserved")
_MASKED = 1 << 16
# Registers of the local APIC, as offsets.
_TPR, _SPURIOUS, _IN_SERVICE, _REQUESTED = 0x80, 0xF0, 0x100, 0x200
_LVT_TIMER, _LVT_LINT0, _LVT_LINT1, _LVT_ERROR = 0x320, 0x350, 0x360, 0x370
_INITIAL_COUNT, _CURRENT_COUNT = 0x380, 0x390
_EVENTS = Struct("<4BI4B4B")  # exception, error code, interrupt, NMI


def interrupt_lines(vm: Vm) -> list[str]:
    """Returns the interrupt state of a VM whose vCPUs stand still, for people to read."""
    lines = [line for vcpu in vm.vcpus for line in _vcpu_lines(vcpu)]
    return lines + _io_apic_lines(vm) + [_pic_line(vm, controller) for controller in (0, 1)]


def _vcpu_lines(vcpu: Vcpu) -> list[str]:
    enabled = "on" if vcpu.registers.rflags & _RFLAGS_IF else "off"
    lines = [f"vCPU {vcpu.number}: interrupts {enabled}{_waiting(vcpu)}"]
    state = vcpu.get_state(lib.RINGLET_STATE_LAPIC)

    def register(offset: int) -> int:
        return int.from_bytes(state[offset : offset + 4], "little")

    def vectors(offset: int) -> str:
        found = [
            f"{32 * word + bit:#x}"
            for word in range(8)
            for bit in range(32)
            if register(offset + 16 * word) >> bit & 1
        ]
        return " ".join(found) or "none"

    power = "enabled" if register(_SPURIOUS) & 0x100 else "disabled"
    lines.append(
        f"  local APIC {power}, priority {register(_TPR):#x}, requested {vectors(_REQUESTED)}, in "
        f"service {vectors(_IN_SERVICE)}"
    )
    timer = register(_LVT_TIMER)
    counts = f"{register(_CURRENT_COUNT)} of {register(_INITIAL_COUNT)}"
    lines.append(f"  timer {_entry(timer)}, {_TIMER_MODES[timer >> 17 & 3]}, count {counts}")
    entries = (("LINT0", _LVT_LINT0), ("LINT1", _LVT_LINT1), ("error", _LVT_ERROR))
    return [*lines, *(f"  {name} {_entry(register(offset))}" for name, offset in entries)]


def _entry(value: int) -> str:
    masked = ", masked" if value & _MASKED else ""
    return f"vector {value & 0xFF:#x} {_DELIVERY[value >> 8 & 7]}{masked}"


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


def _io_apic_lines(vm: Vm) -> list[str]:
    state = vm.get_irqchip(_IO_APIC)
    _, _, _, requested, _ = _IO_APIC_HEAD.unpack_from(state)
    lines = ["I/O APIC, the lines that aren't masked:"]
    for pin in range(_PINS):
        at = _IO_APIC_HEAD.size + 8 * pin
        entry = int.from_bytes(state[at : at + 8], "little")
        waits = ", requested" if requested >> pin & 1 else ""
        if not entry & _MASKED or waits:
            trigger = "level" if entry & 1 << 15 else "edge"
            where = f"destination {entry >> 56:#x}"
            lines.append(f"  {pin}: {_entry(entry & 0x1FFFF)}, {trigger}, {where}{waits}")
    return lines if len(lines) > 1 else ["I/O APIC: all lines are masked"]


def _pic_line(vm: Vm, controller: int) -> str:
    _, requested, mask, in_service, _, base, *_ = vm.get_irqchip(controller)[:16]
    return (
        f"PIC {controller}: requested {requested:#010b}, mask {mask:#010b}, in service "
        f"{in_service:#010b}, vectors from {base:#x}"
    )
