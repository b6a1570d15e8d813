"""CPUID as KVM hands it over: struct kvm_cpuid_entry2, one after the other.

Source: Linux, arch/x86/include/uapi/asm/kvm.h; Intel SDM volume 2, CPUID.
"""

from functools import cache
from struct import Struct

_ENTRY = Struct("<7I12x")  # function, index, flags, eax, ebx, ecx, edx
ENTRY_SIZE = _ENTRY.size
MAX_ENTRIES = 256


@cache  # the host has one, and a vCPU one of a few numbers
def for_vcpu(entries: bytes, apic_id: int) -> bytes:
    """`entries` as one vCPU sees them: KVM fills in the APIC ID of the host's processor.

    Leaf 1 has it in EBX 31..24, leaves 0xB and 0x1F in EDX.
    """
    out = bytearray(entries)
    for offset in range(0, len(out), ENTRY_SIZE):
        function, index, flags, eax, ebx, ecx, edx = _ENTRY.unpack_from(out, offset)
        if function == 1:
            ebx = ebx & 0x00FF_FFFF | apic_id << 24
        elif function in (0xB, 0x1F):
            edx = apic_id
        else:
            continue
        _ENTRY.pack_into(out, offset, function, index, flags, eax, ebx, ecx, edx)
    return bytes(out)
