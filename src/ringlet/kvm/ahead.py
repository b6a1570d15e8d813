"""A VM made ahead of its use, by a program that has something else to do first.

Once a VM has its interrupt controllers, the kernel waits some 12 ms in the background (SRCU
grace periods of its I/O buses, Linux 6.16 and later), and whoever closes the VM before that is
over waits as long. A short guest is over in 3. So the command line makes the VM first and
imports the rest meanwhile.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from ringlet.kvm.core import KvmError
from ringlet.kvm.system import System
from ringlet.kvm.vm import Vm

_vms: list[Vm] = []


@contextmanager
def vm() -> Iterator[None]:
    """Makes a VM with interrupt controllers, and closes it in the end if nobody took it.

    If it can't be made, who needs one finds out why.
    """
    try:
        with System() as system:
            _vms.append(Vm(system))
            _vms[-1].create_irqchip()
    except KvmError:
        _close()
    try:
        yield
    finally:
        _close()


def take() -> Vm | None:
    """The VM that was made ahead, if there is one: from now on the caller's to close."""
    return _vms.pop() if _vms else None


def _close() -> None:
    while (made := take()) is not None:
        made.close()
