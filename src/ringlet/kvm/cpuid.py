"""CPUID for a guest: the features that KVM supports, and one socket of single-thread cores.

`entries` comes from KVM: an array of struct kvm_cpuid_entry2. KVM fills in the topology of the
host's processor, or no topology, so this file replaces the topology. Source: Linux,
arch/x86/include/uapi/asm/kvm.h and Documentation/virt/kvm/x86/cpuid.rst; Intel SDM volume 2, CPUID;
AMD64 APM volume 3, appendix E.
"""

from __future__ import annotations

from functools import cache
from struct import Struct

_ENTRY = Struct("<7I12x")  # function, index, flags, eax, ebx, ecx, edx
ENTRY_SIZE = _ENTRY.size
MAX_ENTRIES = 256

_INDEXED = 1  # KVM_CPUID_FLAG_SIGNIFCANT_INDEX

AMD = (b"AuthenticAMD", b"HygonGenuine")
# Leaf 1 ECX: KVM's local APIC has a TSC deadline timer, and a guest runs on a hypervisor. KVM's
# list may lack both bits.
_TSC_DEADLINE, _HYPERVISOR = 1 << 24, 1 << 31
_PDCM = 1 << 15  # leaf 1 ECX: the MSR IA32_PERF_CAPABILITIES exists
_HTT = 1 << 28  # leaf 1 EDX: more than one logical processor in the package
_CMP_LEGACY = 1 << 1  # 0x80000001 ECX, AMD: the logical processors are cores
_SMT, _CORE = 1 << 8, 2 << 8  # level types of leaf 0xB

# The KVM_FEATURE_ bits of leaf 0x40000001 EAX that make a guest use hypercalls, which not every KVM
# supports: PV_UNHALT, PV_SEND_IPI, PV_SCHED_YIELD, HC_MAP_GPA_RANGE, MIGRATION_CONTROL.
_HYPERCALL_FEATURES = 1 << 7 | 1 << 11 | 1 << 13 | 1 << 16 | 1 << 17

_TOPOLOGY = (0xB, 0x1F)


@cache  # a host has one list of entries, and there are few APIC IDs
def for_vcpu(entries: bytes, apic_id: int, count: int = 1) -> bytes:
    """Returns `entries` changed for the vCPU with this APIC ID, one of `count` vCPUs."""
    width = (count - 1).bit_length()  # the number of APIC ID bits that number the cores
    ids = 1 << width
    out = bytearray()
    vendor = b""
    for function, index, flags, eax, ebx, ecx, edx in _ENTRY.iter_unpack(entries):
        if function == 0:
            vendor = Struct("<3I").pack(ebx, edx, ecx)
        elif function == 1:
            ebx = ebx & 0xFFFF | min(ids, 255) << 16 | (apic_id & 0xFF) << 24
            ecx = ecx & ~_PDCM | _TSC_DEADLINE | _HYPERVISOR
            edx = edx | _HTT if count > 1 else edx & ~_HTT
        elif function == 4 and eax & 0x1F:  # a cache of Intel's: sharers, and cores in the socket
            eax = eax & 0x3FFF | _sharers(eax, ids) << 14 | min(ids - 1, 63) << 26
        elif function == 0xA:  # no performance counters
            eax = ebx = ecx = edx = 0
        elif function in _TOPOLOGY:
            if index:
                continue  # the entry with index 0 has already added all levels
            flags |= _INDEXED
            out += _ENTRY.pack(function, 0, flags, 0, 1, _SMT, apic_id)
            out += _ENTRY.pack(function, 1, flags, width, count, 1 | _CORE, apic_id)
            index, eax, ebx, ecx, edx = 2, 0, 0, 2, apic_id
        elif function == 0x4000_0001:
            eax &= ~_HYPERCALL_FEATURES
        elif function == 0x8000_0001 and vendor in AMD:
            ecx = ecx | _CMP_LEGACY if count > 1 else ecx & ~_CMP_LEGACY
        elif function == 0x8000_0008 and vendor in AMD:
            ecx = min(count - 1, 255) | width << 12
        elif function == 0x8000_001D and eax & 0x1F:
            eax = eax & 0x3FFF | _sharers(eax, count) << 14
        elif function == 0x8000_001E:  # core ID, one thread each; one node
            eax, ebx, ecx, edx = apic_id, apic_id & 0xFF, 0, 0
        elif function == 0x8000_0026:  # the new form of 0x8000001E: zeros mean that it is absent
            eax = ebx = ecx = edx = 0
        out += _ENTRY.pack(function, index, flags, eax, ebx, ecx, edx)
    return bytes(out)


def _sharers(cache: int, ids: int) -> int:
    """Returns bits 25..14 of a cache's EAX: cores share a cache of level 3, and no lower level.

    `cache` is the EAX of the cache; `ids` is the number of APIC IDs in the socket.
    """
    level = cache >> 5 & 7
    return min(ids - 1, 0xFFF) if level >= 3 else 0
