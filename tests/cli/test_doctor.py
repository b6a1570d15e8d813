"""`ringlet doctor` on this host, and on one where /dev/kvm can't be had."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = [sys.executable, "-c", "from ringlet.cli import main; main()", "doctor"]

# In a mount namespace of its own /dev/kvm is another file, or none.
HIDDEN = "mount -t tmpfs none /dev && exec"
NOT_KVM = "mount --bind /dev/null /dev/kvm && exec"


def doctor(*options: str, before: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [*PROGRAM, *options]
    if before is not None:
        command = ["unshare", "--mount", "sh", "-c", f'{before} "$@"', "sh", *command]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.needs_kvm
def test_all_is_fine_where_guests_boot() -> None:
    done = doctor()
    assert done.returncode == 0, done.stdout
    assert done.stderr == ""
    lines = [line for line in done.stdout.splitlines() if "hint:" not in line]
    assert all(line.startswith("ok ") for line in lines)


@pytest.mark.needs_kvm
def test_kind_of_kvm_is_what_the_processor_says() -> None:
    found = json.loads(doctor("--json").stdout)
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next(line for line in lines if line.startswith("flags")).split()
    kind = "hardware KVM" if {"vmx", "svm"} & set(flags) else "software KVM"
    assert sum(finding["what"].startswith(kind) for finding in found) == 1
    assert all(finding["fine"] for finding in found)


@pytest.mark.needs_root
@pytest.mark.parametrize(
    ("before", "what", "hint"),
    [(HIDDEN, "can't open /dev/kvm", "modprobe"), (NOT_KVM, "/dev/kvm isn't KVM", "")],
)
def test_kvm_that_is_no_kvm_is_named_with_what_to_do(before: str, what: str, hint: str) -> None:
    done = doctor(before=before)
    assert done.returncode == 125
    first, second = done.stdout.splitlines()
    assert first.startswith("no ")
    assert what in first
    assert hint in second


# All is imported first: the other user may not be able to read this checkout.
AS_NOBODY = """
import os
import ringlet.cli.doctor, ringlet.cli.group, ringlet.kvm.system
from ringlet.cli import run
os.setgroups([]); os.setgid(65534); os.setuid(65534)
raise SystemExit(run(["doctor"]))
"""


@pytest.mark.needs_root
def test_kvm_that_may_not_be_opened_is_named_with_the_command_that_mends_it() -> None:
    command = [sys.executable, "-c", AS_NOBODY]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 125, done.stderr
    assert "Permission denied" in done.stdout
    assert "usermod -aG kvm" in done.stdout
