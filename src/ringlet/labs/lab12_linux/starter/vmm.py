"""My VMM: boots Linux.

    python3 vmm.py KERNEL INITRAMFS "COMMAND LINE"
"""

import ctypes
import fcntl
import mmap
import os
import struct
import sys

# System calls of KVM: the numbers for ioctl (linux/kvm.h).
KVM_CREATE_VM = 0xAE01
KVM_GET_VCPU_MMAP_SIZE = 0xAE04
KVM_GET_SUPPORTED_CPUID = 0xC008AE05
KVM_CREATE_VCPU = 0xAE41
KVM_SET_USER_MEMORY_REGION = 0x4020AE46
KVM_SET_TSS_ADDR = 0xAE47
KVM_CREATE_IRQCHIP = 0xAE60
KVM_CREATE_PIT2 = 0x4040AE77
KVM_RUN = 0xAE80
KVM_SET_REGS = 0x4090AE82
KVM_GET_SREGS = 0x8138AE83
KVM_SET_SREGS = 0x4138AE84
KVM_SET_CPUID2 = 0x4008AE90

# Structures of KVM, for the module struct.
REGION = "<IIQQQ"  # slot, flags, guest_phys_addr, memory_size, userspace_addr
REGS = "<18Q"  # rax rbx rcx rdx rsi rdi rsp rbp r8 to r15 rip rflags
SEGMENT = "<QIH10B"  # base, limit, selector, type, present, dpl, db, s, l, g, avl, unusable, padding
SREGS_SIZE = 312  # it begins with CS, DS, ES, FS, GS, SS: 24 bytes each
CR0 = 224  # offset in the special registers
PIT_CONFIG = "<I60x"  # flags: 1 for port 0x61
CPUID_ENTRIES = 256
CPUID_ENTRY = "<7I12x"  # function, index, flags, eax, ebx, ecx, edx; behind a header of 8 bytes

# struct kvm_run, the page that the vCPU shares with this program.
EXIT_REASON = 8  # offset of a 32-bit number
EXIT_IO, EXIT_SHUTDOWN = 2, 8  # with EXIT_REASON
IO = 32  # offset of: direction (1 byte: 0 in, 1 out), size (1), port (2), count (4), data_offset (8)

# Addresses in the guest.
MEMORY = 128 << 20
KERNEL = 0x100000
ZERO_PAGE = 0x10000
COMMAND_LINE = 0x20000
TSS = 0x40000000

COM1, LSR, CLOCK = 0x3F8, 0x3FD, 0x71  # ports


def address_of(mapping):
    """The address of an mmap object in this process."""
    return ctypes.addressof(ctypes.c_char.from_buffer(mapping))


def load(memory, kernel, initramfs, line):
    """Puts the kernel, its command line, the initramfs and the zero page into the guest's memory."""
    # Step 1: write this function.


def set_registers(vcpu):
    """Sets the registers that the 32-bit boot protocol wants."""
    # Step 1: write this function.


def set_cpuid(kvm, vcpu):
    """Gives the vCPU the features that KVM supports, and says that this is a virtual machine."""
    # Step 2: write this function.


def main(kernel, initramfs, line):
    with open(kernel, "rb") as file:
        kernel = file.read()
    with open(initramfs, "rb") as file:
        initramfs = file.read()
    line = os.fsencode(line)
    protocol = kernel[0x207], kernel[0x206]
    print(f"boot protocol {protocol[0]}.{protocol[1]:02}", file=sys.stderr)
    print(f"the kernel has {len(kernel)} bytes, the initramfs {len(initramfs)}", file=sys.stderr)

    # Step 1: a VM, its memory, a vCPU, its registers, KVM_RUN, all as in lab 1.

    # Step 2: the chips and the CPUID; then the loop with ports, the reset, and unknown exits.

    # Step 3: Linux.


main(*sys.argv[1:])
