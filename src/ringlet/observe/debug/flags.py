"""The bits of RFLAGS, the control registers and EFER by name, with what each name means.

Source: Intel SDM volume 1, 3.4.3 (RFLAGS); volume 3, 2.2.1 (EFER), 2.5 (control registers) and
10.4.4 (IA32_APIC_BASE); AMD APM volume 2, 3.1.7 (EFER).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from ringlet.kvm.registers import Registers, SpecialRegisters
else:
    from ringlet.host.named_tuple import NamedTuple


class Flag(NamedTuple):
    """One bit: its number, the manual's name, and the meaning of a 1."""

    bit: int
    name: str
    meaning: str


RFLAGS = (
    Flag(0, "CF", "carry"),
    Flag(2, "PF", "parity: an even number of ones in the low byte"),
    Flag(4, "AF", "carry out of bit 3"),
    Flag(6, "ZF", "zero"),
    Flag(7, "SF", "sign: negative"),
    Flag(8, "TF", "trap: a debug exception after each instruction"),
    Flag(9, "IF", "interrupts are on"),
    Flag(10, "DF", "string instructions go downwards"),
    Flag(11, "OF", "overflow"),
    Flag(14, "NT", "nested task"),
    Flag(16, "RF", "resume: no instruction breakpoint for the next instruction"),
    Flag(17, "VM", "virtual-8086 mode"),
    Flag(18, "AC", "alignment check; access to user pages with CR4.SMAP"),
    Flag(19, "VIF", "virtual interrupts are on"),
    Flag(20, "VIP", "a virtual interrupt is pending"),
    Flag(21, "ID", "cpuid exists"),
)
IOPL_SHIFT, IOPL_MASK = 12, 3

CR0 = (
    Flag(0, "PE", "protected mode"),
    Flag(1, "MP", "wait checks TS"),
    Flag(2, "EM", "no x87 unit"),
    Flag(3, "TS", "task switched: the next x87 or SSE instruction faults"),
    Flag(4, "ET", "x87 is a 387, always 1"),
    Flag(5, "NE", "x87 errors are exceptions"),
    Flag(16, "WP", "ring 0 can't write to read-only pages"),
    Flag(18, "AM", "alignment checks are possible"),
    Flag(29, "NW", "caches don't write through"),
    Flag(30, "CD", "caches are off"),
    Flag(31, "PG", "paging is on"),
)
CR3 = (
    Flag(3, "PWT", "the first table is write-through"),
    Flag(4, "PCD", "the first table isn't cached"),
    Flag(61, "LAM_U57", "upper address bits of ring 3 are ignored, 57 bits count"),
    Flag(62, "LAM_U48", "upper address bits of ring 3 are ignored, 48 bits count"),
)
CR4 = (
    Flag(0, "VME", "virtual-8086 mode extensions"),
    Flag(1, "PVI", "virtual interrupts in protected mode"),
    Flag(2, "TSD", "rdtsc in ring 0 alone"),
    Flag(3, "DE", "debug registers 4 and 5 don't exist"),
    Flag(4, "PSE", "pages of 4 MiB in 32-bit paging"),
    Flag(5, "PAE", "page table entries of 64 bits"),
    Flag(6, "MCE", "machine checks are on"),
    Flag(7, "PGE", "global pages"),
    Flag(8, "PCE", "rdpmc in every ring"),
    Flag(9, "OSFXSR", "SSE is on"),
    Flag(10, "OSXMMEXCPT", "SSE errors are exceptions"),
    Flag(11, "UMIP", "no sgdt, sidt, sldt, smsw and str in ring 3"),
    Flag(12, "LA57", "5-level paging"),
    Flag(13, "VMXE", "VMX is on"),
    Flag(14, "SMXE", "SMX is on"),
    Flag(16, "FSGSBASE", "rdfsbase and the like"),
    Flag(17, "PCIDE", "process-context identifiers"),
    Flag(18, "OSXSAVE", "xsave is on"),
    Flag(19, "KL", "Key Locker is on"),
    Flag(20, "SMEP", "ring 0 can't execute user pages"),
    Flag(21, "SMAP", "ring 0 can't read and write user pages"),
    Flag(22, "PKE", "protection keys for user pages"),
    Flag(23, "CET", "control-flow enforcement"),
    Flag(24, "PKS", "protection keys for supervisor pages"),
    Flag(25, "UINTR", "user interrupts"),
    Flag(28, "LAM_SUP", "upper address bits of ring 0 are ignored"),
)
EFER = (
    Flag(0, "SCE", "syscall is on"),
    Flag(8, "LME", "long mode is enabled: it begins with paging"),
    Flag(10, "LMA", "long mode is active"),
    Flag(11, "NXE", "no-execute pages"),
    Flag(12, "SVME", "SVM is on"),
    Flag(13, "LMSLE", "segment limits in long mode"),
    Flag(14, "FFXSR", "fast fxsave"),
    Flag(15, "TCE", "translation cache extension"),
)
APIC_BASE = (
    Flag(8, "BSP", "the bootstrap processor"),
    Flag(10, "EXTD", "x2APIC mode"),
    Flag(11, "EN", "the local APIC is on"),
)


def names(value: int, flags: tuple[Flag, ...]) -> str:
    """Returns the names of the bits that are 1, such as "PE ET PG"; "-" if there is none."""
    return " ".join(flag.name for flag in flags if value >> flag.bit & 1) or "-"


def rflags_names(value: int) -> str:
    """Returns the names of the flags that are 1, and the I/O privilege level if it isn't 0."""
    iopl = value >> IOPL_SHIFT & IOPL_MASK
    return names(value, RFLAGS) + (f" IOPL={iopl}" if iopl else "")


def spell_out(name: str, value: int, flags: tuple[Flag, ...]) -> list[str]:
    """Returns a line with the register's value, and a line for each bit that is 1."""
    known = sum(1 << flag.bit for flag in flags)
    rows = [f"{name} {value:#x}"]
    rows += [f"  {f.name:<10} bit {f.bit:>2}  {f.meaning}" for f in flags if value >> f.bit & 1]
    if name == "rflags":
        rows.append(f"  {'IOPL':<10} bits 12 and 13  {value >> IOPL_SHIFT & IOPL_MASK}")
        known |= IOPL_MASK << IOPL_SHIFT | 2  # bit 1 is always 1
    if name in ("cr3", "apic_base"):
        address = value & 0x000F_FFFF_FFFF_F000
        what = "the physical address of the first page table" if name == "cr3" else "its address"
        rows.append(f"  {'':<10} {what}: {address:#x}")
        known |= 0x000F_FFFF_FFFF_F000 | (0xFFF if name == "cr3" else 0)
    if rest := value & ~known:
        rows.append(f"  bits without a name: {rest:#x}")
    return rows


def control_lines(registers: Registers, special: SpecialRegisters) -> list[str]:
    """Returns RFLAGS, the control registers and EFER, each bit that is 1 spelled out."""
    return [
        *spell_out("rflags", registers.rflags, RFLAGS),
        *spell_out("cr0", special.cr0, CR0),
        f"cr2 {special.cr2:#x}  the address of the last page fault",
        *spell_out("cr3", special.cr3, CR3),
        *spell_out("cr4", special.cr4, CR4),
        f"cr8 {special.cr8:#x}  interrupts of priority {special.cr8 & 0xF} and lower wait",
        *spell_out("efer", special.efer, EFER),
        *spell_out("apic_base", special.apic_base, APIC_BASE),
    ]
