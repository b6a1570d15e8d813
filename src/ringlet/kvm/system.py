"""The device /dev/kvm: says what this host's KVM supports, and makes virtual machines.

Source: Linux, Documentation/virt/kvm/api.rst, 4 ("system ioctl").
"""

from __future__ import annotations

import errno
import os

from ringlet.closing import Closing
from ringlet.kvm.core import KvmError, check, ffi, lib
from ringlet.kvm.cpuid import ENTRY_SIZE, MAX_ENTRIES

API_VERSION = 12  # the only one since Linux 2.6.22


class System(Closing):
    """The open /dev/kvm, a context manager.

    Raises `KvmError` if /dev/kvm is missing, can't be opened, or has another API version.
    """

    # A process asks KVM once, because the answer doesn't change while the host runs.
    _cpuid: bytes | None = None

    def __init__(self, path: str = "/dev/kvm") -> None:
        fd = lib.ringlet_kvm_open(os.fsencode(path))
        if fd < 0:
            raise KvmError(f"can't open {path}", -fd, _open_hint(-fd, path))
        self.fd: int = fd
        try:
            version = lib.ringlet_kvm_api_version(fd)
            if version == -errno.ENOTTY:
                raise KvmError(f"{path} isn't KVM", errno.ENOTTY, "leave the path out")
            if version != API_VERSION:
                raise KvmError(
                    f"the API has version {version}, not {API_VERSION}",
                    errno.ENOTSUP,
                    "use a kernel of 2.6.22 or later",
                )
            self.run_size = check(lib.ringlet_kvm_mmap_size(fd), "size of kvm_run")
        except BaseException:
            self.close()
            raise

    def check_extension(self, capability: int) -> int:
        """Returns KVM's value for a KVM_CAP_ constant; 0 if KVM lacks the capability."""
        return check(lib.ringlet_check_extension(self.fd, capability), "check a capability")

    @property
    def supported_cpuid(self) -> bytes:
        """The result of KVM_GET_SUPPORTED_CPUID: an array of struct kvm_cpuid_entry2."""
        if System._cpuid is None:
            entries = ffi.new("char[]", MAX_ENTRIES * ENTRY_SIZE)
            count = lib.ringlet_kvm_supported_cpuid(self.fd, entries, MAX_ENTRIES)
            check(count, "supported CPUID")
            System._cpuid = bytes(ffi.buffer(entries, count * ENTRY_SIZE))
        return System._cpuid

    def close(self) -> None:
        """Closes /dev/kvm; its virtual machines stay open. A second call does nothing."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _open_hint(error: int, path: str) -> str:
    if error == errno.ENOENT:
        return (
            "load KVM with `modprobe kvm_intel` or `modprobe kvm_amd`; virtualization may be "
            "off in the firmware, or not nested in this VM. `ringlet nested` emulates a machine "
            "that has it"
        )
    if error in (errno.EACCES, errno.EPERM):
        return f"join its group: `sudo usermod -aG kvm $USER`, log in again (now: ls -l {path})"
    return "`ringlet doctor` looks for the cause"
