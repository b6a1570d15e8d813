"""A virtual machine of KVM: memory slots, interrupt controllers, vCPUs.

Source: Linux, Documentation/virt/kvm/api.rst, 4 ("vm ioctl").
"""

from __future__ import annotations

import os

from ringlet.closing import Closing
from ringlet.kvm.core import check, ffi, lib
from ringlet.kvm.vcpu import Vcpu

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    from ringlet.kvm.memory import GuestMemory, Region
    from ringlet.kvm.system import System

PAGE = 4096
CAP_DISABLE_QUIRKS2 = 213
QUIRK_FIX_HYPERCALL_INSN = 1 << 5


class Vm(Closing):
    """A virtual machine that is empty at first, a context manager.

    For speed, add the memory first, then the irqchip, then the vCPUs. If the irqchip comes first,
    each memory slot waits for a grace period of the kernel.
    """

    def __init__(self, system: System) -> None:
        self.fd: int = check(lib.ringlet_vm_create(system.fd), "create a VM")
        self.vcpus: list[Vcpu] = []
        self._run_size = system.run_size
        self._mapped: list[Any] = []
        self._regions: list[Region] = []  # of the slots from 0 on
        self._pieces = 0  # the number of slots after those, which `protect` has made
        try:
            # KVM patches a hypercall instruction of the other vendor in the guest's code. With this
            # quirk off, such an instruction is an invalid opcode instead.
            quirks = check(lib.ringlet_check_extension(self.fd, CAP_DISABLE_QUIRKS2), "quirks")
            if quirks & QUIRK_FIX_HYPERCALL_INSN:
                self.enable_capability(CAP_DISABLE_QUIRKS2, QUIRK_FIX_HYPERCALL_INSN)
        except BaseException:
            self.close()
            raise

    def enable_capability(self, capability: int, argument: int = 0) -> None:
        """Enables a capability (KVM_ENABLE_CAP)."""
        check(
            lib.ringlet_vm_enable_capability(self.fd, capability, argument),
            f"enable capability {capability}",
        )

    def set_tss_address(self, address: int) -> None:
        """Gives kvm-intel three pages outside memory (KVM_SET_TSS_ADDR), before any vCPU."""
        check(lib.ringlet_vm_set_tss_address(self.fd, address), "set the TSS address")

    def map_memory(self, memory: GuestMemory) -> None:
        """Makes each region of `memory` a memory slot. The regions stay mapped until `close`."""
        for region in memory.regions:
            self.map_region(region)

    def map_region(self, region: Region, *, readonly: bool = False) -> int:
        """Makes `region` a memory slot and returns the slot's number.

        A guest's write to a read-only slot is an MMIO exit.
        """
        slot = len(self._mapped)
        host = region.export()  # while the VM uses the region, it can't be unmapped
        result = lib.ringlet_vm_set_memory(
            self.fd, slot, readonly, region.address, region.size, host + region.skip
        )
        if result < 0:
            ffi.release(host)
        check(result, f"map memory at {region.address:#x}")
        self._mapped.append(host)
        self._regions.append(region)
        return slot

    def protect(self, pages: Collection[int]) -> None:
        """Makes the pages at these guest-physical addresses read-only, and all others writable.

        A guest's write to such a page is an MMIO exit. No vCPU may be running.
        """
        first = len(self._regions)
        for slot in range(first + self._pieces):
            check(lib.ringlet_vm_set_memory(self.fd, slot, 0, 0, 0, ffi.NULL), "remove a slot")
        slots: list[tuple[int, int, int, bool]] = []  # region, offset, size, whether read-only
        for number, region in enumerate(self._regions):
            own = sorted(each - region.address for each in pages)
            at, parts = 0, []
            for offset in own:
                if 0 <= offset < region.size:
                    parts += [(number, at, offset - at, False), (number, offset, PAGE, True)]
                    at = offset + PAGE
            slots += [part for part in [*parts, (number, at, region.size - at, False)] if part[2]]
        for slot, (number, offset, size, readonly) in enumerate(slots):
            region, host = self._regions[number], self._mapped[number]
            result = lib.ringlet_vm_set_memory(
                *(self.fd, slot, readonly, region.address + offset, size),
                host + region.skip + offset,
            )
            check(result, f"map memory at {region.address + offset:#x}")
        self._pieces = len(slots) - first

    def create_irqchip(self) -> None:
        """Creates PIC, I/O APIC and local APICs in the kernel."""
        check(lib.ringlet_vm_create_irqchip(self.fd), "create the interrupt controllers")

    def create_pit(self) -> None:
        """Creates an i8254 timer in the kernel; channel 0 runs as a PC's firmware leaves it.

        Closing the VM then takes at least 10 ms.
        """
        check(lib.ringlet_vm_create_pit(self.fd), "create the timer")

    def set_irq(self, gsi: int, level: bool) -> None:
        """Sets the level of an input of the interrupt controllers. Any thread may call this."""
        check(lib.ringlet_vm_set_irq(self.fd, gsi, level), f"set interrupt {gsi}")

    def irqfd(self, fd: int, gsi: int, *, deassign: bool = False) -> None:
        """Makes each signal of the eventfd `fd` an edge on the interrupt line `gsi`."""
        check(lib.ringlet_vm_irqfd(self.fd, fd, gsi, deassign), f"irqfd of interrupt {gsi}")

    def ioeventfd(
        self,
        fd: int,
        address: int,
        length: int,
        *,
        port: bool = False,
        match: int | None = None,
        deassign: bool = False,
    ) -> None:
        """Makes a guest's write of `length` bytes at `address` signal `fd`, without an exit.

        With `match`, only a write of that value signals `fd`. A length of 0 means any length (MMIO
        only).
        """
        check(
            lib.ringlet_vm_ioeventfd(
                self.fd, fd, address, length, port, match is not None, match or 0, deassign
            ),
            f"ioeventfd at {address:#x}",
        )

    def coalesce_port(self, port: int) -> None:
        """Delays a guest's one-byte writes to `port` until the next exit.

        Each write is then a port write of its own. Only for a VM with one vCPU: with several vCPUs,
        the order of their writes would be lost.
        """
        check(lib.ringlet_vm_coalesce_port(self.fd, port), f"coalesce writes to port {port:#x}")

    def create_vcpu(self) -> Vcpu:
        """Creates one more vCPU, whose number is its APIC ID. The VM closes the vCPU."""
        vcpu = Vcpu(self.fd, len(self.vcpus), self._run_size)
        self.vcpus.append(vcpu)
        return vcpu

    def close(self) -> None:
        """Closes the VM and its vCPUs; no vCPU may be running. A second call does nothing."""
        for vcpu in self.vcpus:
            vcpu.close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        for host in self._mapped:
            ffi.release(host)
        self._mapped.clear()
