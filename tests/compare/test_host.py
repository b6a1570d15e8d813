"""What is said of this host is what the host says."""

import os
import platform
import subprocess
import sys
import time
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


def test_the_work_of_others_is_told_and_our_own_is_not() -> None:
    began, own, watch = time.monotonic(), time.process_time(), host.Watch()
    while time.process_time() < own + 0.5:
        pass
    mine = watch.others()
    ours = 0.5 / (time.monotonic() - began)
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        watch = host.Watch()
        time.sleep(0.5)
        theirs = watch.others()  # it isn't waited for: it may be anybody's
        other.kill()
    assert mine is not None
    assert theirs is not None
    assert theirs.busy > 0.1
    all_of_them = os.cpu_count() or 1
    assert 0 <= mine.busy <= all_of_them - ours + 0.15  # ticks of 10 ms are inexact
    assert 0 <= mine.steal <= all_of_them
    assert mine.load >= 0
