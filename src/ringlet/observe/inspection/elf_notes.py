"""The notes of an ELF, by name.

Source: System V ABI, chapter 5 (Note Section); glibc, elf/elf.h (the types of GNU); Linux ABI
extensions to the gABI (NT_GNU_PROPERTY_TYPE_0); Xen, public/elfnote.h; Linux,
include/linux/{build-salt,elfnote-lto}.h.
"""

from __future__ import annotations

from struct import Struct

import msgspec

from ringlet.host.printable import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringlet.boot.elf import Note

_SHOWN = 64  # bytes of a descriptor

_GNU_ABI_TAG, _GNU_BUILD_ID, _GNU_PROPERTIES = 1, 3, 5
_LINUX_BUILD_SALT, _LINUX_LTO = 0x100, 0x101
_NAMES = {
    ("GNU", _GNU_ABI_TAG): "NT_GNU_ABI_TAG",
    ("GNU", 2): "NT_GNU_HWCAP",
    ("GNU", _GNU_BUILD_ID): "NT_GNU_BUILD_ID",
    ("GNU", 4): "NT_GNU_GOLD_VERSION",
    ("GNU", _GNU_PROPERTIES): "NT_GNU_PROPERTY_TYPE_0",
    ("Linux", _LINUX_BUILD_SALT): "LINUX_ELFNOTE_BUILD_SALT",
    ("Linux", _LINUX_LTO): "LINUX_ELFNOTE_LTO_INFO",
}
_XEN = (
    *("INFO", "ENTRY", "HYPERCALL_PAGE", "VIRT_BASE", "PADDR_OFFSET", "XEN_VERSION", "GUEST_OS"),
    *("GUEST_VERSION", "LOADER", "PAE_MODE", "FEATURES", "BSD_SYMTAB", "HV_START_LOW"),
    *("L1_MFN_VALID", "SUSPEND_CANCEL", "INIT_P2M", "MOD_START_PFN", "SUPPORTED_FEATURES"),
    *("PHYS32_ENTRY", "PHYS32_RELOC"),
)
_XEN_TEXTS = {5, 6, 7, 8, 9, 10}  # XEN_VERSION to FEATURES

_PROPERTY = Struct("<2I")  # pr_type, pr_datasz
_X86_FEATURES = 0xC000_0002  # GNU_PROPERTY_X86_FEATURE_1_AND
_X86_ISA_NEEDED, _X86_ISA_USED = 0xC000_8002, 0xC001_0002
_FEATURES = ("IBT", "SHSTK", "LAM_U48", "LAM_U57")
_LEVELS = ("x86-64-baseline", "x86-64-v2", "x86-64-v3", "x86-64-v4")


class NoteFacts(msgspec.Struct, frozen=True):
    """A note: its owner, its type as a number and by name, and what it says."""

    owner: str
    type: int
    name: str
    value: str


def note_facts(note: Note) -> NoteFacts:
    """Returns what a note says. Never fails: an unknown or a wrong note is shown as bytes."""
    raw, kind, data = note
    owner = printable(raw.removesuffix(b"\0"), 20)
    name = _NAMES.get((owner, kind), "")
    if owner == "Xen" and kind < len(_XEN):
        name = f"XEN_ELFNOTE_{_XEN[kind]}"
    return NoteFacts(owner, kind, name, _value(owner, kind, data))


def _value(owner: str, kind: int, data: bytes) -> str:
    if owner == "GNU" and kind == _GNU_ABI_TAG and len(data) == 16:
        words = [int.from_bytes(data[at : at + 4], "little") for at in range(0, 16, 4)]
        system = "Linux" if words[0] == 0 else f"system {words[0]}"
        return f"{system} {'.'.join(map(str, words[1:]))}"
    if owner == "GNU" and kind == _GNU_PROPERTIES:
        return ", ".join(_properties(data[:_SHOWN])) or _hex(data)
    if (owner == "Linux" and kind == _LINUX_BUILD_SALT) or (owner == "Xen" and kind in _XEN_TEXTS):
        return printable(data.removesuffix(b"\0"), _SHOWN)
    if owner in ("Xen", "Linux") and len(data) in (4, 8):
        return f"{int.from_bytes(data, 'little'):#x}"
    if owner == "GNU" and kind == _GNU_BUILD_ID:
        return data[:_SHOWN].hex()
    return _hex(data)


def _properties(data: bytes) -> Iterator[str]:
    """Yields what each property of a note of 64-bit code says."""
    start = 0
    while start + _PROPERTY.size <= len(data):
        kind, size = _PROPERTY.unpack_from(data, start)
        start += _PROPERTY.size
        value = int.from_bytes(data[start : start + min(size, 8)], "little")
        if kind == _X86_FEATURES:
            yield f"x86 features: {_bits(value, _FEATURES)}"
        elif kind in (_X86_ISA_NEEDED, _X86_ISA_USED):
            yield f"x86 ISA {'needed' if kind == _X86_ISA_NEEDED else 'used'}: " + _bits(
                value, _LEVELS
            )
        else:
            yield f"property {kind:#x}: {value:#x}"
        start += size + 7 & -8


def _bits(value: int, names: tuple[str, ...]) -> str:
    """Returns the names of the bits of `value` that are set."""
    found = [name for bit, name in enumerate(names) if value >> bit & 1]
    if rest := value >> len(names) << len(names):
        found.append(f"{rest:#x}")
    return ", ".join(found) or "none"


def _hex(data: bytes) -> str:
    shown = data[:_SHOWN].hex(" ")
    return f"{shown} … ({len(data)} bytes)" if len(data) > _SHOWN else shown
