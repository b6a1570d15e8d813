"""What is said of this host is what the host says."""

import platform
from pathlib import Path

import pytest

from ringlet.compare import host


def test_facts_are_those_of_proc() -> None:
    found = host.look({"runc": "1.1"})
    cpuinfo = Path("/proc/cpuinfo").read_text()
    assert f": {found.processor}\n" in cpuinfo
    assert 0 < found.processors <= cpuinfo.count("processor\t:")
    meminfo = int(Path("/proc/meminfo").read_text().split()[1]) << 10
    assert meminfo <= found.memory <= meminfo * 2
    assert found.kernel == f"Linux {Path('/proc/sys/kernel/osrelease').read_text().strip()}"
    assert (found.virtualization == "none") == (" hypervisor " not in cpuinfo)
    assert found.versions["Python"] == platform.python_version()
    assert found.versions["runc"] == "1.1"
    assert found.versions["ringlet"]
    assert found.machine


@pytest.mark.needs_kvm
def test_kind_of_kvm_is_what_the_processor_says(no_leak: None) -> None:
    flags = Path("/proc/cpuinfo").read_text().split()
    assert host.kvm() == ("hardware" if {"vmx", "svm"} & set(flags) else "software")
