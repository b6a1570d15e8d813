"""`ringlet lab check` as an ordinary user, who may make no cgroup: limits, and what it says."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ..cli.command import with_mount
from ..container.user import User, somebody  # noqa: F401
from ..nested.needs import lacks

pytestmark = [pytest.mark.needs_kvm, pytest.mark.needs_mount_namespace]

CLI = "from ringlet.cli import main; main()"
# The user's /dev/kvm is one that other users may open.
OPEN_KVM = (
    "mount -t tmpfs none /mnt; mknod -m 666 /mnt/kvm c 10 232; mount --bind /mnt/kvm /dev/kvm"
)
REFERENCE = Path(__file__).parent / "solutions/lab01_first_vm/reference/vm.py"


class Student:
    def __init__(self, user: User, python: str) -> None:
        self.user = user
        self.python = python

    def lab(self, *words: str, folder: str = ".") -> Any:
        command = self.user.words(self.python, "-c", CLI, "lab", *words)
        return run(*command, cwd=self.user.folder / folder)


def run(*words: str, cwd: Path) -> Any:
    return subprocess.run(
        [*with_mount(OPEN_KVM), *words], cwd=cwd, capture_output=True, text=True, check=False
    )


@pytest.fixture
def student(somebody: User) -> Student:  # noqa: F811
    python = somebody.python()
    if python is None:
        lacks("a Python that other users may run")
    assert python is not None
    student = Student(somebody, python)
    done = student.lab("start", "1")
    assert done.returncode == 0, done.stderr
    return student


def test_a_user_gets_all_points_and_reads_what_is_not_limited(student: Student) -> None:
    (student.user.folder / "lab1/vm.py").write_text(REFERENCE.read_text())
    done = student.lab("check", "--json", folder="lab1")
    assert done.returncode == 0, done.stdout + done.stderr
    grades = json.loads(done.stdout)
    assert grades["earned"] == 100
    assert [note for note in grades["notes"] if note.startswith("you may make no cgroup here")]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("a = bytearray(2 << 30)", "MemoryError"),
        (
            "import os, time\nwhile True:\n  if os.fork() == 0: time.sleep(100)",
            "BlockingIOError: [Errno 11] Resource temporarily unavailable",
        ),
    ],
)
def test_a_user_s_hog_is_bounded(student: Student, code: str, expected: str) -> None:
    (student.user.folder / "lab1/vm.py").write_text(code)
    done = student.lab("check", "--json", folder="lab1")
    assert done.returncode == 1, done.stderr
    assert all(expected in one["seen"] for one in json.loads(done.stdout)["checks"])
