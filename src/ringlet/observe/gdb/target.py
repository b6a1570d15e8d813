"""The registers of a vCPU as GDB knows them: the target description, and the values.

The description is always the one of 64-bit x86. GDB can't change its idea of the registers while it
is connected, and a processor changes its mode on the way into a kernel.

To GDB, an address is a linear one; it knows no segments. So `rip` is told as the linear address of
the next instruction, which differs from RIP in real mode and wherever CS has a base.

Source: GDB's manual, appendix G ("Target Descriptions") and G.5.16 ("i386 Features"); Intel SDM
volume 1, 10.5.1 (the layout of FXSAVE).
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from ringlet.kvm.core import lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringlet.kvm.registers import SpecialRegisters
    from ringlet.kvm.vcpu import Vcpu

_MASK = 0xFFFF_FFFF_FFFF_FFFF
_PE = 1
_KERNEL_GS_BASE = 0xC000_0102
_GENERAL = (
    *("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"),
    *(f"r{number}" for number in range(8, 16)),
)
_SELECTORS = ("cs", "ss", "ds", "es", "fs", "gs")
_X87_CONTROL = ("fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop")
_CONTROL = ("cr0", "cr2", "cr3", "cr4", "cr8", "efer")
_BASES = ("cs_base", "ss_base", "ds_base", "es_base")
_TABLES = ("gdt_base", "gdt_limit", "idt_base", "idt_limit")

# The bits of RFLAGS, CR0, CR4 and EFER by name, for `info registers`.
_FLAGS: dict[str, tuple[int, dict[str, int]]] = {
    "eflags": (
        4,
        {"CF": 0, "PF": 2, "AF": 4, "ZF": 6, "SF": 7, "TF": 8, "IF": 9, "DF": 10, "OF": 11}
        | {"NT": 14, "RF": 16, "VM": 17, "AC": 18, "VIF": 19, "VIP": 20, "ID": 21},
    ),
    "cr0": (
        8,
        {"PE": 0, "MP": 1, "EM": 2, "TS": 3, "ET": 4, "NE": 5, "WP": 16, "AM": 18, "NW": 29}
        | {"CD": 30, "PG": 31},
    ),
    "cr4": (
        8,
        {"VME": 0, "PVI": 1, "TSD": 2, "DE": 3, "PSE": 4, "PAE": 5, "MCE": 6, "PGE": 7, "PCE": 8}
        | {"OSFXSR": 9, "OSXMMEXCPT": 10, "UMIP": 11, "LA57": 12, "VMXE": 13, "FSGSBASE": 16}
        | {"PCIDE": 17, "OSXSAVE": 18, "SMEP": 20, "SMAP": 21, "PKE": 22},
    ),
    "efer": (8, {"SCE": 0, "LME": 8, "LMA": 10, "NXE": 11, "SVME": 12}),
    "mxcsr": (
        4,
        {"IE": 0, "DE": 1, "ZE": 2, "OE": 3, "UE": 4, "PE": 5, "DAZ": 6, "IM": 7, "DM": 8}
        | {"ZM": 9, "OM": 10, "UM": 11, "PM": 12, "FZ": 15},
    ),
}

_FXSAVE = Struct("<HHBxHIHxxIHxxI")  # FCW to MXCSR; instruction and data pointer as 32 bits and CS
_X87_AT, _XMM_AT, _MXCSR_AT, _XSTATE_BV_AT = 32, 160, 24, 512


class Register(NamedTuple):
    """A register for GDB: `size` in bytes, `type` of GDB's or of the description."""

    name: str
    size: int
    type: str
    feature: str
    group: str = ""


_CORE = "org.gnu.gdb.i386.core"
_SSE = "org.gnu.gdb.i386.sse"
_SEGMENTS = "org.gnu.gdb.i386.segments"
_SYSTEM = "org.ringlet.x86.system"


def _registers() -> list[Register]:
    pointers = {"rbp": "data_ptr", "rsp": "data_ptr"}
    system = (
        *(("k_gs_base", "data_ptr"), *((name, "data_ptr") for name in _BASES)),
        *((name, "int32" if name.endswith("limit") else "data_ptr") for name in _TABLES),
        *((name, f"x86_{name}" if name in _FLAGS else "int64") for name in _CONTROL),
    )
    return [
        *(Register(name, 8, pointers.get(name, "int64"), _CORE) for name in _GENERAL),
        Register("rip", 8, "code_ptr", _CORE),
        Register("eflags", 4, "x86_eflags", _CORE),
        *(Register(name, 4, "int32", _CORE) for name in _SELECTORS),
        *(Register(f"st{number}", 10, "i387_ext", _CORE) for number in range(8)),
        *(Register(name, 4, "int", _CORE, "float") for name in _X87_CONTROL),
        *(Register(f"xmm{number}", 16, "vec128", _SSE) for number in range(16)),
        Register("mxcsr", 4, "x86_mxcsr", _SSE, "vector"),
        *(Register(name, 8, "int", _SEGMENTS) for name in ("fs_base", "gs_base")),
        *(
            Register(name, 4 if type == "int32" else 8, type, _SYSTEM, "system")
            for name, type in system
        ),
    ]


REGISTERS = _registers()
_FPU = {"mxcsr", *_X87_CONTROL}
_FPU |= {each.name for each in REGISTERS if each.type in ("i387_ext", "vec128")}

_VECTOR_TYPES = """\
<vector id="v4f" type="ieee_single" count="4"/>
<vector id="v2d" type="ieee_double" count="2"/>
<vector id="v16i8" type="int8" count="16"/>
<vector id="v8i16" type="int16" count="8"/>
<vector id="v4i32" type="int32" count="4"/>
<vector id="v2i64" type="int64" count="2"/>
<union id="vec128">
<field name="v4_float" type="v4f"/><field name="v2_double" type="v2d"/>
<field name="v16_int8" type="v16i8"/><field name="v8_int16" type="v8i16"/>
<field name="v4_int32" type="v4i32"/><field name="v2_int64" type="v2i64"/>
<field name="uint128" type="uint128"/>
</union>
"""


def description() -> str:
    """Returns the target description, an XML document."""
    lines = [
        '<?xml version="1.0"?>',
        '<!DOCTYPE target SYSTEM "gdb-target.dtd">',
        '<target version="1.0"><architecture>i386:x86-64</architecture>',
    ]
    for feature in (_CORE, _SSE, _SEGMENTS, _SYSTEM):
        lines.append(f'<feature name="{feature}">')
        lines.append(_VECTOR_TYPES if feature == _SSE else "")
        own = [register for register in REGISTERS if register.feature == feature]
        lines += [_flags_type(each.name) for each in own if each.type.startswith("x86_")]
        for name, size, type, _, group in own:
            more = f' group="{group}"' if group else ""
            lines.append(f'<reg name="{name}" bitsize="{8 * size}" type="{type}"{more}/>')
        lines.append("</feature>")
    return "\n".join([*lines, "</target>", ""])


def _flags_type(name: str) -> str:
    size, bits = _FLAGS[name]
    fields = "".join(f'<field name="{flag}" start="{b}" end="{b}"/>' for flag, b in bits.items())
    return f'<flags id="x86_{name}" size="{size}">{fields}</flags>'


def read_registers(vcpu: Vcpu) -> dict[str, int]:
    """Returns the value of each register of a vCPU that stands still."""
    registers, special = vcpu.registers, vcpu.special_registers
    state = vcpu.get_state(lib.RINGLET_STATE_XSAVE)
    control, status, tag, fop, fip, fcs, fdp, fds, mxcsr = _FXSAVE.unpack_from(state)
    values = {name: getattr(registers, name) for name in _GENERAL}
    values["rip"] = registers.rip + _code_base(special) & _MASK
    values["eflags"] = registers.rflags & 0xFFFF_FFFF
    values |= {name: getattr(special, name).selector for name in _SELECTORS}
    for number in range(8):
        at = _X87_AT + 16 * number
        values[f"st{number}"] = int.from_bytes(state[at : at + 10], "little")
    values |= zip(
        _X87_CONTROL, (control, status, _full_tag(tag), fcs, fip, fds, fdp, fop), strict=True
    )
    for number in range(16):
        at = _XMM_AT + 16 * number
        values[f"xmm{number}"] = int.from_bytes(state[at : at + 16], "little")
    values["mxcsr"] = mxcsr
    values |= {f"{name}_base": getattr(special, name).base for name in _SELECTORS}
    values["k_gs_base"] = (*vcpu.get_msrs([_KERNEL_GS_BASE]), 0)[0]
    for name in ("gdt", "idt"):
        values[f"{name}_base"], values[f"{name}_limit"] = getattr(special, name)
    return values | {name: getattr(special, name) for name in _CONTROL}


def write_registers(vcpu: Vcpu, new: Mapping[str, int]) -> None:
    """Sets registers of a vCPU that stands still. Raises `KvmError` for what KVM refuses."""
    old = read_registers(vcpu)
    changed = {name: value for name, value in new.items() if value != old[name]}
    special = _with_special(vcpu.special_registers, changed)
    if special != vcpu.special_registers:
        vcpu.special_registers = special
    general = {name: changed[name] for name in _GENERAL if name in changed}
    if "rip" in changed:
        general["rip"] = changed["rip"] - _code_base(special) & _MASK
    if "eflags" in changed:
        general["rflags"] = changed["eflags"]
    if general:
        vcpu.registers = vcpu.registers._replace(**general)
    if "k_gs_base" in changed:
        vcpu.set_msrs({_KERNEL_GS_BASE: changed["k_gs_base"]})
    if not _FPU.isdisjoint(changed):
        _write_fpu(vcpu, old | changed)


def _code_base(special: SpecialRegisters) -> int:
    return 0 if special.cs.l else special.cs.base


def _with_special(special: SpecialRegisters, changed: Mapping[str, int]) -> SpecialRegisters:
    for name in _SELECTORS:
        segment = getattr(special, name)
        selector = changed.get(name, segment.selector) & 0xFFFF
        base = segment.base
        if name in changed and not special.cr0 & _PE:  # in real mode, the selector is the base
            base = selector << 4
        segment = segment._replace(selector=selector, base=changed.get(f"{name}_base", base))
        special = special._replace(**{name: segment})
    for name in ("gdt", "idt"):
        table = getattr(special, name)
        base = changed.get(f"{name}_base", table.base)
        limit = changed.get(f"{name}_limit", table.limit) & 0xFFFF
        special = special._replace(**{name: table._replace(base=base, limit=limit)})
    for name in _CONTROL:
        special = special._replace(**{name: changed.get(name, getattr(special, name))})
    return special


def _full_tag(abridged: int) -> int:
    """Returns the tag word of FSAVE: 3 for an empty register; any other counts as valid, 0."""
    return sum(3 << 2 * number for number in range(8) if not abridged >> number & 1)


def _write_fpu(vcpu: Vcpu, values: Mapping[str, int]) -> None:
    state = bytearray(vcpu.get_state(lib.RINGLET_STATE_XSAVE))
    control, status, tag, fcs, fip, fds, fdp, fop = (values[name] for name in _X87_CONTROL)
    abridged = sum(1 << number for number in range(8) if tag >> 2 * number & 3 != 3)
    fields = (control, status, abridged, fop, fip, fcs, fdp, fds, values["mxcsr"])
    masks = (0xFFFF, 0xFFFF, 0xFF, 0xFFFF, 0xFFFF_FFFF, 0xFFFF, 0xFFFF_FFFF, 0xFFFF, 0xFFFF_FFFF)
    _FXSAVE.pack_into(state, 0, *(field & mask for field, mask in zip(fields, masks, strict=True)))
    for number in range(8):
        at = _X87_AT + 16 * number
        state[at : at + 10] = values[f"st{number}"].to_bytes(10, "little")
    for number in range(16):
        at = _XMM_AT + 16 * number
        state[at : at + 16] = values[f"xmm{number}"].to_bytes(16, "little")
    state[_XSTATE_BV_AT] |= 3  # x87 and SSE aren't in their initial state any more
    vcpu.set_state(lib.RINGLET_STATE_XSAVE, bytes(state))
