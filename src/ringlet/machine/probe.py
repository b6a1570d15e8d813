"""Finds out whether KVM can run Linux: hardware can, a KVM that emulates ring 0 may not.

A KVM that emulates a guest's ring 0 in software runs tiny guests, but its emulator lacks
instructions that a stock kernel needs. The guest `probe` runs a few of these instructions, which
takes some milliseconds.
"""

from __future__ import annotations

from time import monotonic

from ringlet import boot
from ringlet.board.layout import HIGH_MEMORY, TSS
from ringlet.errors import RingletError
from ringlet.kvm.core import lib
from ringlet.kvm.cpuid import for_vcpu
from ringlet.kvm.memory import GuestMemory, anonymous
from ringlet.kvm.vcpu import KIND_SHIFT
from ringlet.kvm.vm import Vm
from ringlet.machine.guests import packaged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.kvm.system import System

_MEMORY = 2 * HIGH_MEMORY  # the guest lies above the first MiB
_PATIENCE = 5.0  # seconds, for a guest of twenty instructions


def require_linux(system: System, kernel: str) -> None:
    """Raises `RingletError` if this KVM can't run an instruction that every Linux kernel needs."""
    instruction = unsupported_instruction(system)
    if instruction is not None:
        raise RingletError(
            f"this host's KVM emulates ring 0 and can't run `{instruction}`, which "
            f"{kernel} needs as every Linux kernel does",
            "boot it inside an emulated machine: `ringlet nested -- ringlet boot ...`; --force "
            "tries here anyway",
        )


def unsupported_instruction(system: System) -> str | None:
    """Returns the first instruction that this KVM can't run, as assembly; None on hardware.

    Raises `RingletError` if the guest `probe` ends in an unexpected way.
    """
    with (
        boot.open_kernel(packaged("probe"), "elf64") as kernel,
        GuestMemory([anonymous(0, _MEMORY)]) as memory,
        Vm(system) as vm,
    ):
        vm.set_tss_address(TSS)
        vm.map_memory(memory)
        vcpu = vm.create_vcpu()
        vcpu.cpuid = for_vcpu(system.supported_cpuid, 0)
        entry = kernel.load(memory)
        vcpu.special_registers = entry.special
        vcpu.registers = entry.registers
        vcpu.tick(_PATIENCE)
        end = monotonic() + _PATIENCE
        try:
            # A signal to the program interrupts the vCPU, too.
            while (code := vcpu.enter(0)) >> KIND_SHIFT == lib.RINGLET_EXIT_INTERRUPTED:
                if monotonic() >= end:
                    break
        finally:
            vcpu.tick(0)
        if code >> KIND_SHIFT == lib.RINGLET_EXIT_PORT:
            return None
        from ringlet.machine.crash import examine  # KVM on hardware never needs this module

        crash = examine(vcpu, memory, vcpu.exit(code))
    if crash.not_emulated:
        return crash.instruction
    raise RingletError(
        f"a guest of a few instructions ended in another way: {crash.kvm or 'a triple fault'}",
        "guests may fail here; look at the kernel's log with `dmesg`",
    )
