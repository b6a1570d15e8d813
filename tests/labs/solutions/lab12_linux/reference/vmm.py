"""The reference VMM: boots Linux.

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
EXIT_REASON = 8
EXIT_IO, EXIT_SHUTDOWN = 2, 8
IO = 32

# Addresses in the guest.
MEMORY = 128 << 20
KERNEL = 0x100000
ZERO_PAGE = 0x10000
COMMAND_LINE = 0x20000
TSS = 0x40000000

COM1, LSR, CLOCK = 0x3F8, 0x3FD, 0x71


def address_of(mapping):
    """The address of an mmap object in this process."""
    return ctypes.addressof(ctypes.c_char.from_buffer(mapping))


def load(memory, kernel, initramfs, line):
    setup_sectors = kernel[0x1F1] or 4
    code = kernel[(setup_sectors + 1) * 512 :]
    memory[KERNEL : KERNEL + len(code)] = code
    memory[COMMAND_LINE : COMMAND_LINE + len(line) + 1] = line + b"\0"
    place = (MEMORY - len(initramfs)) & ~0xFFF
    memory[place : place + len(initramfs)] = initramfs

    zero = bytearray(4096)
    end = 0x202 + kernel[0x201]
    zero[0x1F1:end] = kernel[0x1F1:end]
    zero[0x210] = 0xFF  # type_of_loader: none that has a number
    struct.pack_into("<II", zero, 0x218, place, len(initramfs))
    struct.pack_into("<I", zero, 0x228, COMMAND_LINE)
    ram = [(0, 0x9FC00), (0x100000, MEMORY - 0x100000)]
    zero[0x1E8] = len(ram)
    for number, (address, size) in enumerate(ram):
        struct.pack_into("<QQI", zero, 0x2D0 + 20 * number, address, size, 1)
    memory[ZERO_PAGE : ZERO_PAGE + 4096] = zero


def set_registers(vcpu):
    sregs = bytearray(SREGS_SIZE)
    fcntl.ioctl(vcpu, KVM_GET_SREGS, sregs)
    limit = 0xFFFFFFFF
    struct.pack_into(SEGMENT, sregs, 0, 0, limit, 0x10, 11, 1, 0, 1, 1, 0, 1, 0, 0, 0)
    for number in range(1, 6):
        at = 24 * number
        struct.pack_into(SEGMENT, sregs, at, 0, limit, 0x18, 3, 1, 0, 1, 1, 0, 1, 0, 0, 0)
    struct.pack_into("<Q", sregs, CR0, 1)
    fcntl.ioctl(vcpu, KVM_SET_SREGS, bytes(sregs))
    regs = [0] * 18
    regs[4], regs[16], regs[17] = ZERO_PAGE, KERNEL, 2
    fcntl.ioctl(vcpu, KVM_SET_REGS, struct.pack(REGS, *regs))


def set_cpuid(kvm, vcpu):
    cpuid = bytearray(8 + CPUID_ENTRIES * struct.calcsize(CPUID_ENTRY))
    struct.pack_into("<I", cpuid, 0, CPUID_ENTRIES)
    fcntl.ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid)
    (count,) = struct.unpack_from("<I", cpuid)
    for number in range(count):
        at = 8 + number * struct.calcsize(CPUID_ENTRY)
        entry = list(struct.unpack_from(CPUID_ENTRY, cpuid, at))
        if entry[0] == 1:
            entry[5] |= 1 << 31  # hypervisor
            struct.pack_into(CPUID_ENTRY, cpuid, at, *entry)
    fcntl.ioctl(vcpu, KVM_SET_CPUID2, cpuid)


def main(kernel, initramfs, line):
    with open(kernel, "rb") as file:
        kernel = file.read()
    with open(initramfs, "rb") as file:
        initramfs = file.read()
    kvm = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    vm = fcntl.ioctl(kvm, KVM_CREATE_VM, 0)
    memory = mmap.mmap(-1, MEMORY)
    load(memory, kernel, initramfs, os.fsencode(line))
    region = struct.pack(REGION, 0, 0, 0, MEMORY, address_of(memory))
    fcntl.ioctl(vm, KVM_SET_USER_MEMORY_REGION, region)
    fcntl.ioctl(vm, KVM_SET_TSS_ADDR, TSS)
    fcntl.ioctl(vm, KVM_CREATE_IRQCHIP, 0)
    fcntl.ioctl(vm, KVM_CREATE_PIT2, struct.pack(PIT_CONFIG, 1))
    vcpu = fcntl.ioctl(vm, KVM_CREATE_VCPU, 0)
    run = mmap.mmap(vcpu, fcntl.ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0))
    set_cpuid(kvm, vcpu)
    set_registers(vcpu)
    while True:
        fcntl.ioctl(vcpu, KVM_RUN, 0)
        (reason,) = struct.unpack_from("<I", run, EXIT_REASON)
        if reason == EXIT_SHUTDOWN:
            break
        if reason != EXIT_IO:
            sys.exit(f"exit {reason} of the guest: this VMM doesn't know it")
        direction, size, port, count, data = struct.unpack_from("<BBHIQ", run, IO)
        if direction == 0:
            byte = {LSR: 0x60, CLOCK: 0}.get(port, 0xFF)
            run[data : data + size * count] = bytes([byte]) * (size * count)
        elif port == COM1:
            os.write(1, run[data : data + count])


main(*sys.argv[1:])
