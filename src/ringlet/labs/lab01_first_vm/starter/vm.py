"""My VMM: runs a guest of 16-bit code in KVM.

    python3 vm.py hello.bin
"""

import ctypes
import fcntl
import mmap
import os
import struct
import sys

# System calls of KVM: the numbers for ioctl (linux/kvm.h).
KVM_GET_API_VERSION = 0xAE00
KVM_CREATE_VM = 0xAE01
KVM_GET_VCPU_MMAP_SIZE = 0xAE04
KVM_CREATE_VCPU = 0xAE41
KVM_SET_USER_MEMORY_REGION = 0x4020AE46
KVM_RUN = 0xAE80
KVM_SET_REGS = 0x4090AE82
KVM_GET_SREGS = 0x8138AE83
KVM_SET_SREGS = 0x4138AE84

# Structures of KVM, for the module struct.
REGION = "<IIQQQ"  # slot, flags, guest_phys_addr, memory_size, userspace_addr
REGS = "<18Q"  # rax rbx rcx rdx rsi rdi rsp rbp r8 to r15 rip rflags
SREGS_SIZE = 312  # it begins with CS: base (8 bytes), limit (4), selector (2), ...

# struct kvm_run, the page that the vCPU shares with this program.
EXIT_REASON = 8  # offset of a 32-bit number
EXIT_IO = 2  # with EXIT_REASON: port I/O
IO = 32  # offset of: direction (1 byte: 0 in, 1 out), size (1), port (2), count (4), data_offset (8)
EXIT_HLT = 5  # with EXIT_REASON: the guest has halted

MEMORY = 64 << 10  # bytes
LOAD = 0x1000  # where the guest is in its memory, and where it starts


def address_of(mapping):
    """The address of an mmap object in this process."""
    return ctypes.addressof(ctypes.c_char.from_buffer(mapping))


def main(path):
    with open(path, "rb") as file:
        guest = file.read()
    kvm = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    print("API version:", fcntl.ioctl(kvm, KVM_GET_API_VERSION, 0), file=sys.stderr)
    print("The guest has", len(guest), "bytes.", file=sys.stderr)

    # Step 1: a VM, its memory with the guest in it, a vCPU, its registers, KVM_RUN.

    # Step 2: run until HLT; what the guest writes to port 0x3f8 goes to standard output.

    # Step 3: what the guest reads from port 0x3f8 comes from standard input.


main(sys.argv[1])
