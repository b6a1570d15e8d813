"""`ringlet lab check` as an ordinary user, who may make no cgroup: limits, and what it says."""

import json
import os
import shutil
import subprocess
import sys
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
SOLUTIONS = Path(__file__).parent / "solutions"
REFERENCE = SOLUTIONS / "lab01_first_vm/reference/vm.py"


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


def own_python(student: Student) -> str:
    """A Python in the user's own folder, as pyenv, conda and uv make them."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    command = student.user.words(student.python, "-c", "import os; print(os.__file__)")
    library = Path(run(*command, cwd=student.user.folder).stdout.strip()).parent
    place = student.user.folder / "python"
    for name in ("bin", "lib"):
        (place / name).mkdir(parents=True)
    shutil.copy(os.path.realpath(student.python), place / "bin" / version)
    (place / "lib" / version).symlink_to(library)
    for path in (place, *place.rglob("*")):
        os.chown(path, student.user.uid, student.user.gid, follow_symlinks=False)
    return str(place / "bin" / version)


@pytest.mark.skipif(not os.path.exists("/usr/bin/python3"), reason="needs the system's Python")
def test_a_python_of_the_user_s_own_runs_the_grader_and_not_what_may_mount(
    student: Student,
) -> None:
    student.python = own_python(student)
    assert student.lab("start", "8").returncode == 0
    shutil.copy(SOLUTIONS / "lab08_container/reference/box.py", student.user.folder / "lab8")
    done = student.lab("check", "--json", "--on", "here", folder="lab8")
    assert done.returncode == 0, done.stdout + done.stderr


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
