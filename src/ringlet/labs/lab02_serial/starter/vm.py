"""A VMM that runs a guest of 16-bit code, and has one device: the UART of uart.py.

    python3 vm.py print.bin

You needn't change this file: the grader runs your uart.py with its own copy.
"""

import ctypes
import fcntl
import mmap
import os
import struct
import sys
import threading

from uart import Uart

# System calls of KVM: the numbers for ioctl (linux/kvm.h).
KVM_CREATE_VM = 0xAE01
KVM_GET_VCPU_MMAP_SIZE = 0xAE04
KVM_CREATE_VCPU = 0xAE41
KVM_SET_USER_MEMORY_REGION = 0x4020AE46
KVM_CREATE_IRQCHIP = 0xAE60
KVM_IRQ_LINE = 0x4008AE61
KVM_RUN = 0xAE80
KVM_SET_REGS = 0x4090AE82
KVM_GET_SREGS = 0x8138AE83
KVM_SET_SREGS = 0x4138AE84

# Structures of KVM, for the module struct.
REGION = "<IIQQQ"  # slot, flags, guest_phys_addr, memory_size, userspace_addr
LINE = "<II"  # irq, level
REGS = "<18Q"  # rax rbx rcx rdx rsi rdi rsp rbp r8 to r15 rip rflags
SREGS_SIZE = 312

# struct kvm_run, the page that the vCPU shares with this program.
EXIT_REASON = 8  # offset of a 32-bit number
EXIT_IO = 2  # with EXIT_REASON: port I/O
IO = 32  # offset of: direction (1 byte: 0 in, 1 out), size (1), port (2), count (4), data_offset (8)

MEMORY = 64 << 10  # bytes
LOAD = 0x1000  # where the guest is in its memory, and where it starts
STACK = 0x8000  # where its stack ends

COM1 = 0x3F8  # the first of the UART's eight ports
COM1_IRQ = 4  # its line to the interrupt controller
EXIT_PORT = 0xF4  # a byte that the guest writes here ends the run, with this status


def address_of(mapping):
    """The address of an mmap object in this process."""
    return ctypes.addressof(ctypes.c_char.from_buffer(mapping))


def make_vm(guest):
    """Returns a VM with an interrupt controller, its vCPU, the shared page, and its memory."""
    kvm = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    vm = fcntl.ioctl(kvm, KVM_CREATE_VM, 0)
    memory = mmap.mmap(-1, MEMORY)
    memory[LOAD : LOAD + len(guest)] = guest
    region = struct.pack(REGION, 0, 0, 0, MEMORY, address_of(memory))
    fcntl.ioctl(vm, KVM_SET_USER_MEMORY_REGION, region)
    fcntl.ioctl(vm, KVM_CREATE_IRQCHIP, 0)
    vcpu = fcntl.ioctl(vm, KVM_CREATE_VCPU, 0)
    page = mmap.mmap(vcpu, fcntl.ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0))
    sregs = bytearray(SREGS_SIZE)
    fcntl.ioctl(vcpu, KVM_GET_SREGS, sregs)
    struct.pack_into("<Q", sregs, 0, 0)  # CS: base
    struct.pack_into("<H", sregs, 12, 0)  # CS: selector
    fcntl.ioctl(vcpu, KVM_SET_SREGS, bytes(sregs))
    general = [0] * 6 + [STACK] + [0] * 9
    fcntl.ioctl(vcpu, KVM_SET_REGS, struct.pack(REGS, *general, LOAD, 2))
    return vm, vcpu, page, memory


def main(path):
    with open(path, "rb") as file:
        vm, vcpu, page, memory = make_vm(file.read())

    def transmit(byte):
        """The far end of the line: standard output."""
        os.write(1, bytes([byte]))

    def set_irq(level):
        """Sets the UART's line to the interrupt controller: True is high, False is low."""
        fcntl.ioctl(vm, KVM_IRQ_LINE, struct.pack(LINE, COM1_IRQ, level))

    uart = Uart(transmit, set_irq)
    lock = threading.Lock()  # two threads use the UART, and one of them at a time

    def listen():
        """Gives what comes on standard input to the UART, a byte at a time."""
        while byte := os.read(0, 1):
            with lock:
                uart.receive(byte[0])

    threading.Thread(target=listen, daemon=True).start()
    while True:
        fcntl.ioctl(vcpu, KVM_RUN, 0)  # a guest that halts waits in here for an interrupt
        (reason,) = struct.unpack_from("<I", page, EXIT_REASON)
        if reason != EXIT_IO:
            sys.exit(f"exit {reason} of the guest: this VMM doesn't know it")
        direction, size, port, count, at = struct.unpack_from("<BBHIQ", page, IO)
        if size != 1 or count != 1:
            sys.exit(f"{count} accesses of {size} bytes to port {port:#x}: one byte, please")
        if direction == 1 and port == EXIT_PORT:
            sys.exit(page[at])
        if not COM1 <= port < COM1 + 8:
            page[at] = 0xFF  # there is no such device
        elif direction == 1:
            with lock:
                uart.write(port - COM1, page[at])
        else:
            with lock:
                page[at] = uart.read(port - COM1)


main(sys.argv[1])
