"""MSRs as a PC's firmware leaves them, where that differs from the processor's reset.

Source: Intel SDM volume 4, 2.1 (architectural MSRs), and volume 3, 12.11.2.1 (MTRRs).
"""

from __future__ import annotations

MTRR_DEFAULT_TYPE = 0x2FF
MISC_ENABLE = 0x1A0

_MTRRS_ENABLED, _WRITE_BACK = 1 << 11, 6
_FAST_STRINGS, _NO_BRANCH_TRACE, _NO_PEBS = 1 << 0, 1 << 11, 1 << 12

# For `Vcpu.set_msrs`, the most important first: it stops at one that KVM refuses.
FIRMWARE = {
    # All memory can be cached. Ranges that may not be need no MTRR of their own: devices have
    # no memory behind them, so KVM sees every access.
    MTRR_DEFAULT_TYPE: _MTRRS_ENABLED | _WRITE_BACK,
    MISC_ENABLE: _FAST_STRINGS | _NO_BRANCH_TRACE | _NO_PEBS,
}
