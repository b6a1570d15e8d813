"""/dev/kvm itself."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from ringlet.kvm.core import KvmError
from ringlet.kvm.cpuid import ENTRY_SIZE
from ringlet.kvm.system import System

CAP_IRQCHIP = 0
CAP_NR_MEMSLOTS = 10
CAP_READONLY_MEM = 81
CAP_IMMEDIATE_EXIT = 136


def refused(path: str) -> KvmError:
    with pytest.raises(KvmError) as caught:
        System(path)
    error = caught.value
    assert path in error.message
    assert "\n" not in error.message + error.hint
    return error


def test_a_missing_kvm_says_how_to_load_it(tmp_path: Path) -> None:
    error = refused(str(tmp_path / "kvm"))
    assert error.errno == errno.ENOENT
    assert "modprobe" in error.hint


def test_no_permission_says_how_to_get_it(tmp_path: Path) -> None:
    path = tmp_path / "kvm"
    path.touch(mode=0)
    # In a child, for root may open everything.
    script = f"""
import os
from ringlet.kvm.core import KvmError
from ringlet.kvm.system import System
if os.geteuid() == 0:
    os.setgroups([])
    os.setresuid(65534, 65534, 65534)
try:
    System({str(path)!r})
except KvmError as error:
    print(error.errno, error.message, error.hint, sep="\\n")
"""
    result = subprocess.run(
        [sys.executable, "-c", "import sys" + script], capture_output=True, text=True, check=True
    )
    number, message, hint = result.stdout.splitlines()
    assert int(number) == errno.EACCES
    assert str(path) in message
    assert "usermod -aG kvm" in hint


@pytest.mark.parametrize("path", ["/dev/null", "/dev/zero"])
def test_another_device_is_not_kvm(path: str) -> None:
    assert "isn't KVM" in refused(path).message


def test_a_directory_is_not_kvm(tmp_path: Path) -> None:
    assert refused(str(tmp_path)).errno == errno.EISDIR


def test_what_cant_be_used_stays_not_open(no_leak: None) -> None:
    for path in ("/dev/null", "/nonexistent"):
        refused(path)


@pytest.mark.needs_kvm
def test_close_again_is_harmless(no_leak: None) -> None:
    with System() as system:
        assert system.run_size >= 4096
    system.close()
    with pytest.raises(KvmError) as caught:
        system.check_extension(CAP_IRQCHIP)
    assert caught.value.errno == errno.EBADF


@pytest.mark.needs_kvm
def test_capabilities_are_numbers_and_zero_where_missing() -> None:
    with System() as system:
        for capability in (CAP_IRQCHIP, CAP_READONLY_MEM, CAP_IMMEDIATE_EXIT):
            assert system.check_extension(capability) == 1
        assert system.check_extension(CAP_NR_MEMSLOTS) >= 32
        assert system.check_extension(1_000_000) == 0


@pytest.mark.needs_kvm
def test_supported_cpuid_is_whole_entries_with_the_vendor_in_leaf_0() -> None:
    with System() as system:
        entries = system.supported_cpuid
    assert len(entries) % ENTRY_SIZE == 0
    leaves = {
        entries[start : start + 4]: entries[start : start + ENTRY_SIZE]
        for start in range(0, len(entries), ENTRY_SIZE)
    }
    leaf0 = leaves[bytes(4)]
    vendor = leaf0[16:20] + leaf0[24:28] + leaf0[20:24]  # EBX, EDX, ECX
    assert vendor.isalpha()
    assert vendor.decode() in Path("/proc/cpuinfo").read_text()
    assert b"\x01\x00\x00\x00" in leaves
