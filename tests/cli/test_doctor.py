"""`ringlet doctor` on this host, and on one where /dev/kvm can't be had."""

import json
from pathlib import Path

import pytest

from .command import NO_KVM, NOT_KVM, run, run_as_nobody, with_mount


@pytest.mark.needs_kvm
def test_all_is_fine_where_guests_boot() -> None:
    done = run("doctor")
    assert done.returncode == 0, done.stdout
    assert done.stderr == ""
    lines = [line for line in done.stdout.splitlines() if "hint:" not in line]
    assert all(line.startswith("ok ") for line in lines)


@pytest.mark.needs_kvm
def test_kind_of_kvm_is_what_the_processor_says() -> None:
    found = json.loads(run("doctor", "--json").stdout)
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next(line for line in lines if line.startswith("flags")).split()
    kind = "hardware KVM" if {"vmx", "svm"} & set(flags) else "software KVM"
    assert sum(finding["what"].startswith(kind) for finding in found) == 1
    assert all(finding["fine"] for finding in found)


@pytest.mark.needs_mount_namespace
@pytest.mark.parametrize(
    ("mount", "what", "hint"),
    [(NO_KVM, "can't open /dev/kvm", "modprobe"), (NOT_KVM, "/dev/kvm isn't KVM", "")],
)
def test_kvm_that_is_no_kvm_is_named_with_what_to_do(mount: str, what: str, hint: str) -> None:
    done = run("doctor", before=with_mount(mount))
    assert done.returncode == 125
    first, second = done.stdout.splitlines()
    assert first.startswith("no ")
    assert what in first
    assert hint in second


@pytest.mark.needs_mount_namespace
def test_kvm_that_may_not_be_opened_is_named_with_the_command_that_mends_it() -> None:
    done = run_as_nobody("doctor")
    assert done.returncode == 125, done.stderr
    assert "Permission denied" in done.stdout
    assert "usermod -aG kvm" in done.stdout
