"""QEMU's machine type microvm, with the kernel and the workload of the tiny VM.

Source: QEMU, docs/system/i386/microvm.rst.
"""

from __future__ import annotations

import os

from ringlet.compare.instances import Unavailable
from ringlet.compare.instances.spawned import Spawned
from ringlet.compare.ways.base import Rival, size
from ringlet.compare.ways.tiny_vm import IMAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.compare.instances import Request

CRASHED = 70  # the status of `ringlet boot` after a crash


class Way(Rival):
    """The guest `work` in a microvm with as few devices as possible."""

    name = "qemu"
    title = "QEMU microvm"
    about = "QEMU's smallest machine, with the same kernel and work as the tiny VM."
    own_kernel = True
    disk = "/dev/vda"
    program = "qemu-system-x86_64"
    package = "qemu-system-x86"

    def prepare(self) -> None:
        """Checks that there is a KVM: without KVM, QEMU would emulate the processor."""
        if not os.access("/dev/kvm", os.R_OK | os.W_OK):
            raise Unavailable("there is no /dev/kvm that may be opened", "try `ringlet doctor`")

    def command(self, request: Request) -> list[str]:
        """Returns `qemu-system-x86_64 -M microvm -kernel work.elf -append WORDS`."""
        # Without ACPI, QEMU describes the disk in the guest's command line, as ringlet does.
        machine = "microvm,acpi=off,pic=off,pit=off,rtc=off,isa-serial=on"
        command = [self.program, "-M", machine, "-accel", "kvm", "-cpu", "host,-arch-capabilities"]
        command += ["-m", size(request.memory), "-nodefaults", "-no-user-config", "-no-reboot"]
        command += ["-display", "none", "-serial", "stdio"]
        command += ["-device", "isa-debug-exit,iobase=0xf4,iosize=1"]
        command += ["-kernel", IMAGE, "-append", " ".join(request.words)]
        if request.disk is not None:
            file = request.disk.replace(",", ",,")
            command += ["-drive", f"if=none,id=disk,format=raw,file={file}"]
            command += ["-device", "virtio-blk-device,drive=disk"]
            command += ["-global", "virtio-mmio.force-legacy=false"]
        return command

    def spawn(self, request: Request) -> Run:
        """Starts the command, as a run whose status is the guest's."""
        return Run(self.command(request), input=request.reads_input)


class Run(Spawned):
    """A run of QEMU. It ends with 2n + 1 for the guest's status n, and with 0 after a crash."""

    def _judge(self, code: int) -> int:
        return code >> 1 if code > 0 and code & 1 else super()._judge(code) or CRASHED
