"""A VM made ahead of its use, by a program that has something else to do first.

Once a VM has its interrupt controllers, the kernel waits some 12 ms in the background (SRCU
grace periods of its I/O buses, Linux 6.16 and later), and whoever closes the VM before that is
over waits as long. A short guest is over in 3. So the command line makes the VM first and
imports the rest meanwhile.
"""

from __future__ import annotations

from ringlet.kvm.core import KvmError
from ringlet.kvm.system import System
from ringlet.kvm.vm import Vm


def make_vm() -> Vm | None:
    """A VM with interrupt controllers, for `Machine(config, vm=...)`; the caller closes it.

    To close it once more than the machine does is harmless. None where it can't be made: the
    machine finds out why.
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
