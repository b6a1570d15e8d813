"""The MSRs that a PC's firmware sets to other values than the processor's reset.

Source: Intel SDM volume 4, 2.1 (architectural MSRs), and volume 3, 12.11.2.1 (MTRRs).
"""

from __future__ import annotations

MTRR_DEFAULT_TYPE = 0x2FF
MISC_ENABLE = 0x1A0

_MTRRS_ENABLED, _WRITE_BACK = 1 << 11, 6
_FAST_STRINGS, _NO_BRANCH_TRACE, _NO_PEBS = 1 << 0, 1 << 11, 1 << 12

# For `Vcpu.set_msrs`, which stops at the first MSR that KVM refuses. So the most important MSR is
# the first.
FIRMWARE = {
    # All memory can be cached. The address ranges of devices need no MTRR: no memory is behind
    # them, so every access is an exit to KVM.
    MTRR_DEFAULT_TYPE: _MTRRS_ENABLED | _WRITE_BACK,
    MISC_ENABLE: _FAST_STRINGS | _NO_BRANCH_TRACE | _NO_PEBS,
}
