"""Makes a VM ahead of its use, while the program does something else.

When a VM gets its interrupt controllers, the kernel waits some 12 ms in the background (SRCU grace
periods of the VM's I/O buses, Linux 6.16 and later). A program that closes the VM earlier has to
wait for the rest of this time, and a short guest runs for 3 ms only. So the command line first
makes the VM, and then imports the other modules.
"""

from __future__ import annotations

from ringlet.kvm.core import KvmError
from ringlet.kvm.system import System
from ringlet.kvm.vm import Vm


def make_vm() -> Vm | None:
    """Makes a VM with interrupt controllers, for `Machine(config, vm=...)`; the caller closes it.

    The machine closes the VM, too; the second close does nothing. Returns None if the VM can't be
    made; the machine then tries again and raises the error.
    """
    try:
        with System() as system:
            vm = Vm(system)
    except KvmError:
        return None
    try:
        vm.create_irqchip()
    except KvmError:
        vm.close()
        return None
    return vm
