"""A VMM that looks at its guest's memory from outside.

    python3 outside.py sample.bin

It takes commands on standard input, one a line:

    run                  runs the guest to its next HLT
    taken                how many pages of the guest's memory the host has really given
    dirty                the pages that the guest has written since the last `dirty`
    translate ADDRESS    where the guest's virtual address is in the guest's physical memory
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
KVM_CREATE_VCPU = 0xAE41
KVM_GET_DIRTY_LOG = 0x4010AE42
KVM_SET_USER_MEMORY_REGION = 0x4020AE46
KVM_RUN = 0xAE80
KVM_SET_REGS = 0x4090AE82
KVM_GET_SREGS = 0x8138AE83
KVM_SET_SREGS = 0x4138AE84

# Structures of KVM, for the module struct.
REGION = "<IIQQQ"  # slot, flags, guest_phys_addr, memory_size, userspace_addr
DIRTY_LOG = "<IIQ"  # slot, padding, the address of a bitmap: a bit for each page
REGS = "<18Q"  # rax rbx rcx rdx rsi rdi rsp rbp r8 to r15 rip rflags
SEGMENT = "<QIHBBBBBBBBBB"  # base limit selector type present dpl db s l g avl unusable padding
SREGS_SIZE = 312
CR0, CR3, CR4, EFER = 224, 240, 248, 264  # offsets in struct kvm_sregs

KVM_MEM_LOG_DIRTY_PAGES = 1  # in the flags of REGION
EXIT_REASON = 8  # offset in the shared page
EXIT_HLT = 5

PAGE = 4096  # bytes
MEMORY = 16 << 20  # bytes
PRESENT, LARGE = 0x01, 0x80  # bits of an entry of a page table
ADDRESS = 0x000FFFFFFFFFF000  # the bits that hold a physical address


def address_of(mapping):
    """The address of an mmap object, or of a bytearray, in this process."""
    return ctypes.addressof(ctypes.c_char.from_buffer(mapping))


class Vm:
    """A VM with one vCPU in 64-bit mode, and 16 MiB of memory: `memory`, slot 0."""

    def __init__(self, image):
        kvm = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
        self.fd = fcntl.ioctl(kvm, KVM_CREATE_VM, 0)
        self.memory = mmap.mmap(-1, MEMORY)
        self.memory[: len(image)] = image
        flags = 0
        region = struct.pack(REGION, 0, flags, 0, MEMORY, address_of(self.memory))
        fcntl.ioctl(self.fd, KVM_SET_USER_MEMORY_REGION, region)
        self.vcpu = fcntl.ioctl(self.fd, KVM_CREATE_VCPU, 0)
        self.page = mmap.mmap(self.vcpu, fcntl.ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0))
        rip, cr3 = struct.unpack_from("<QQ", image)
        self.start(rip, cr3)

    def start(self, rip, cr3):
        """Brings the vCPU to 64-bit mode, with the page tables at `cr3`."""
        sregs = bytearray(SREGS_SIZE)
        fcntl.ioctl(self.vcpu, KVM_GET_SREGS, sregs)
        code = struct.pack(SEGMENT, 0, 0xFFFFFFFF, 0x08, 0xB, 1, 0, 0, 1, 1, 1, 0, 0, 0)
        data = struct.pack(SEGMENT, 0, 0xFFFFFFFF, 0x10, 0x3, 1, 0, 1, 1, 0, 1, 0, 0, 0)
        sregs[: 6 * 24] = code + data * 5  # CS; DS, ES, FS, GS, SS
        struct.pack_into("<Q", sregs, CR0, 0x80000011)  # PG, ET, PE
        struct.pack_into("<Q", sregs, CR3, cr3)
        struct.pack_into("<Q", sregs, CR4, 0x20)  # PAE
        struct.pack_into("<Q", sregs, EFER, 0x500)  # LMA, LME
        fcntl.ioctl(self.vcpu, KVM_SET_SREGS, bytes(sregs))
        fcntl.ioctl(self.vcpu, KVM_SET_REGS, struct.pack(REGS, *[0] * 16, rip, 2))

    def cr3(self):
        """The physical address of the guest's first page table, as the guest has set it."""
        sregs = bytearray(SREGS_SIZE)
        fcntl.ioctl(self.vcpu, KVM_GET_SREGS, sregs)
        return struct.unpack_from("<Q", sregs, CR3)[0] & ADDRESS

    def run(self):
        """Runs the guest to its next HLT."""
        fcntl.ioctl(self.vcpu, KVM_RUN, 0)
        (reason,) = struct.unpack_from("<I", self.page, EXIT_REASON)
        if reason != EXIT_HLT:
            sys.exit(f"exit {reason} of the guest: this VMM doesn't know it")


def taken(vm):
    """Returns how many pages of vm.memory the host has really given to this process."""
    return 0  # step 3


def dirty(vm):
    """Returns the numbers of the pages that the guest has written since the last call."""
    return []  # step 3


def translate(vm, address):
    """Returns the guest-physical address of a virtual address; None if it isn't mapped."""
    return None  # step 3


def main(path):
    with open(path, "rb") as file:
        vm = Vm(file.read())
    for line in sys.stdin:
        match line.split():
            case ["run"]:
                vm.run()
                print("halted", flush=True)
            case ["taken"]:
                print(taken(vm), flush=True)
            case ["dirty"]:
                print(*dirty(vm), flush=True)
            case ["translate", address]:
                physical = translate(vm, int(address, 16))
                print("none" if physical is None else f"{physical:#x}", flush=True)
            case _:
                print("commands: run, taken, dirty, translate ADDRESS", flush=True)


main(sys.argv[1])
