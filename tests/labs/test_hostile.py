"""Student code that does harm: each gets a clear result, and the next check still runs."""

import os
import shutil
import socket
import tempfile
from pathlib import Path

import pytest

from ringlet.labs.catalog import find_lab
from ringlet.labs.check import Failed
from ringlet.labs.grade import Grades, grade
from ringlet.labs.program import MEMORY, OUTPUT, PROCESSES, PYTHON, Program
from ringlet.labs.work import Work, read_files

pytestmark = [pytest.mark.needs_root, pytest.mark.slow]

SOLUTIONS = Path(__file__).parent / "solutions"


def seen(code: str, seconds: float = 10.0) -> str:
    """What the grader says of a program, or what the program says if it may."""
    with Program(
        {"main.py": code.encode()}, [PYTHON, "main.py"], kvm=False, seconds=seconds
    ) as program:
        program.end_input()
        try:
            end = program.finish()
        except Failed as failed:
            return failed.seen
        return f"{end.status} {end.output.decode()}{end.complaint}"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("while True: pass", "it didn't end in 1 seconds, and was killed"),
        ("import time; time.sleep(100)", "it didn't end in 1 seconds, and was killed"),
        (
            "import os, time\nif os.fork(): time.sleep(100)\nos.setsid(); time.sleep(100)",
            "it didn't end in 1 seconds, and was killed",
        ),
        (
            "import signal, time\nfor n in range(1, 32):\n  try: signal.signal(n, signal.SIG_IGN)\n"
            "  except OSError: pass\ntime.sleep(100)",
            "it didn't end in 1 seconds, and was killed",
        ),
    ],
)
def test_what_does_not_end_is_killed(code: str, expected: str) -> None:
    assert seen(code, 1.0) == expected


@pytest.mark.needs_cgroups
def test_a_fork_bomb_is_bounded_and_leaves_nothing() -> None:
    bomb = (
        "import os, time\nmade = 0\ntry:\n"
        "  while True:\n"
        "    if os.fork() == 0: time.sleep(100)\n"
        "    made += 1\n"
        "except OSError as error: print(made, error.strerror)\n"
    )
    assert seen(bomb).startswith(f"0 {PROCESSES - 1} Resource temporarily unavailable")


@pytest.mark.needs_cgroups
@pytest.mark.parametrize(
    "code",
    [
        "a = []\nwhile True: a.append(bytearray(1 << 20))",
        # files are memory, too
        "f = open('/dev/shm/a', 'wb'); g = open('/tmp/a', 'wb')\na = []\n"
        "while True:\n  a.append(bytearray(1 << 20))\n  g.write(bytes(1 << 16))",
    ],
)
def test_what_eats_memory_is_killed(code: str) -> None:
    assert seen(code) == f"it took more memory than the {MEMORY >> 20} MiB that it has"


@pytest.mark.parametrize("place", ["/work", "/tmp", "/dev/shm", "/usr", "/proc/sys", "/"])
def test_what_eats_disk_gets_an_error_and_the_host_keeps_its_space(place: str) -> None:
    before = shutil.disk_usage("/tmp").free
    code = (
        "import shutil\n"
        f"try:\n  with open('{place}/full', 'wb') as file:\n"
        "    while True: file.write(bytes(1 << 20))\n"
        "except OSError as error: print(error.strerror)\n"
    )
    said = seen(code)
    assert any(
        word in said
        for word in ("No space left", "Read-only", "No such file", "more memory", "denied")
    ), said
    assert before - shutil.disk_usage("/tmp").free < 1 << 30  # others write, too


@pytest.mark.parametrize(("stream", "name"), [(1, "output"), (2, "error")])
def test_what_prints_a_megabyte_is_killed(stream: int, name: str) -> None:
    said = seen(f"import os\nwhile True: os.write({stream}, bytes(4096))")
    assert said == f"it wrote more than {OUTPUT} bytes to standard {name}, and was killed"


def test_an_exception_is_shown_by_its_last_line_with_nothing_a_terminal_obeys() -> None:
    said = seen("raise ValueError('\\x1b[2J\\x07 boom')")
    assert said == "1 ValueError: \ufffd[2J\ufffd boom"


@pytest.mark.parametrize(
    ("code", "status"),
    [("import os; os._exit(0)", 0), ("import os; os.kill(os.getpid(), 9)", None), ("exit(3)", 3)],
)
def test_an_early_exit_is_an_end_as_any_other(code: str, status: int | None) -> None:
    said = seen(code)
    assert status is None or said == f"{status} it ended with status {status}"


def test_there_is_no_network() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        port = server.getsockname()[1]
        said = seen(
            f"import socket\nfor host in ('127.0.0.1', '192.0.2.1'):\n"
            f"  try: socket.create_connection((host, {port}), 1); print('connected')\n"
            "  except OSError as error: print(error.strerror)\n"
        )
        with pytest.raises(TimeoutError):
            server.accept()
    assert "connected" not in said
    assert said.startswith("0 Connection refused\nNetwork is unreachable\n")


def test_it_sees_nothing_of_the_hosts_but_usr_and_python(tmp_path: Path) -> None:
    secret = Path(__file__).parent / "solutions/lab01_first_vm/reference/vm.py"
    assert secret.exists()
    said = seen(
        "import os, sys\n"
        f"print(os.path.exists({str(secret)!r}), sorted(os.listdir('/work')))\n"
        "print(sorted(n for n in os.listdir('/proc') if n.isdigit()))\n"
        "print(sorted(os.listdir('/proc/self/fd')))\n"
        "print([os.listdir(place) for place in sys.path if place.endswith('-packages')])\n"
    )
    # 3 is the folder that listdir has open.
    said, _, packages = said.partition("['0', '1', '2', '3']\n")
    assert said == "0 False ['main.py']\n['1']\n"
    assert packages.startswith(("[]", "[[]"))


def test_files_that_it_deletes_or_changes_are_there_for_the_next_check() -> None:
    code = (
        "import os\nprint(sorted(os.listdir('.')))\n"
        "for name in os.listdir('.'): os.remove(name)\n"
        "open('main.py', 'w').write('print(100)')\nopen('results.json', 'w').write('100')\n"
    )
    with Work({"main.py": code.encode(), "other": b"1"}, 10) as work:
        for _ in range(2):
            with work.program(PYTHON, "main.py") as program:
                program.end_input()
                assert program.finish().output == b"['main.py', 'other']\n"


def test_a_program_that_closes_its_streams_is_waited_for() -> None:
    said = seen("import os, time\nfor n in range(3): os.close(n)\ntime.sleep(0.3); os._exit(5)")
    assert said == "5 it ended with status 5"


def test_it_leaves_no_process_no_mount_and_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen("pass")  # the helper and the guard stay
    before = Path("/proc/self/mountinfo").read_text(), len(os.listdir("/proc/self/fd"))
    for code in ("import os, time\nif os.fork() == 0: time.sleep(9)", "1 / 0", "while True: pass"):
        seen(code, 0.5)
    after = Path("/proc/self/mountinfo").read_text(), len(os.listdir("/proc/self/fd"))
    assert after == before
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


# Whole labs: each check has its verdict, in time, and what comes after is as good as ever.


def graded(number: int, name: str, text: str, folder: Path) -> Grades:
    folder.mkdir(exist_ok=True)
    for path in find_lab(number).starter:
        shutil.copy(path, folder)
    (folder / name).write_text(text)
    grades = grade(find_lab(number), folder, lambda check: None)
    assert len(grades.verdicts) == len(find_lab(number).checks())
    return grades


def reference(number: int, name: str) -> str:
    (lab,) = SOLUTIONS.glob(f"lab{number:02}_*")
    return (lab / "reference" / name).read_text()


@pytest.mark.needs_kvm
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("while True: pass", "there is no VM"),
        ("import os\nwhile True: os.fork()", ""),
        ("a = []\nwhile True: a.append(bytearray(1 << 20))", ""),
        ("while True: print('passed ' * 100)", "more than 65536 bytes"),
        (
            "import json, os, sys\n"
            "grade = json.dumps({'event': 'end', 'earned': 100, 'passed': True})\n"
            "for place in ('/proc/1/fd/1', '/proc/1/fd/2', 'results.json', '/results.json'):\n"
            "  try: open(place, 'a').write(grade)\n"
            "  except OSError: pass\n"
            "sys.exit(grade)",
            '"earned": 100',  # as words of the program, and no more
        ),
        ("import os; os.close(0); os.close(1); os.close(2)", "ended"),
        ("import os, shutil; shutil.rmtree('/work', ignore_errors=True)", "ended"),
        ("import os, signal; os.kill(-1, 9); os.kill(os.getppid(), 9)", "ended"),
        ("def f(): f()\nf()", "RecursionError"),
        ("import os; os.abort()", "ended"),
        ("import ctypes; ctypes.string_at(0)", "ended"),
        ("\0", "null bytes"),
        (
            "import os; print(os.environ, open('/proc/1/environ').read()); 1 / 0",
            "ZeroDivisionError",
        ),
    ],
)
def test_a_hostile_vmm_earns_nothing_and_spoils_nothing(
    code: str, expected: str, tmp_path: Path
) -> None:
    grades = graded(1, "vm.py", code, tmp_path)
    assert grades.earned == 0
    assert expected in grades.verdicts[0].seen
    assert all(one.seen.isprintable() for one in grades.verdicts)
    assert graded(1, "vm.py", reference(1, "vm.py"), tmp_path).earned == 100


# A guest's first bytes, as assembly, and what the grader sees.
@pytest.mark.needs_kvm
@pytest.mark.needs_gcc
@pytest.mark.parametrize(
    ("guest", "expected"),
    [
        (".code16\n1: jmp 1b", "it ran for 3 seconds, and was ended"),
        (".code16\n1: inc %al\nout %al, $0xe9\njmp 1b", "CR0.PE is 0"),
        (".code16\nmov $1, %eax\nmov %eax, %cr0\nljmp $0x50, $0", "it crashed: "),
        (".code16\nmov $0xfe, %al\nout %al, $0x64", "its run ended: reset"),
        (".code16\n1: mov $0x3f8, %dx\nout %al, %dx\njmp 1b", "it ran for 3 seconds"),
        ("", "the build makes an empty image"),
        (".space 1 << 17", "more than 65536 bytes"),
        ("nonsense", "the build fails: guest.S:1: Error: "),
        ('.incbin "/dev/zero"', ""),
        ('.incbin "/etc/shadow"', "the build fails: "),
        ('#include "/proc/self/mem"', ""),
        (".rept 1000000000\nnop\n.endr", ""),
    ],
)
def test_a_hostile_guest_earns_nothing(guest: str, expected: str, tmp_path: Path) -> None:
    grades = graded(3, "guest.S", guest + "\n", tmp_path)
    assert grades.earned == 0
    assert expected in grades.verdicts[0].seen
    assert all(one.seen.isprintable() for one in grades.verdicts)


@pytest.mark.parametrize(
    "before",
    [
        "import subprocess; subprocess.run('umount -a -l; mount --make-rshared /', shell=True)",
        "import os\nos.mkdir('/tmp/c')\nlibc_mount = __import__('ctypes').CDLL(None).mount\n"
        "for kind in (b'cgroup2', b'sysfs', b'devtmpfs', b'debugfs', b'ext4', b'overlay'):\n"
        "  libc_mount(b'/dev/vda', b'/tmp/c', kind, 0, None)\n",
        "import os\nfor n in range(3):\n  try: os.mknod(f'/tmp/{n}', 0o60666, os.makedev(254, n))\n"
        "  except OSError: pass\n",
        "open('/proc/sys/kernel/hostname', 'w').write('host')",
        "open('/proc/sysrq-trigger', 'w').write('b')",
    ],
)
def test_a_hostile_container_changes_nothing_of_the_hosts(before: str, tmp_path: Path) -> None:
    seen("pass")
    host = Path("/proc/self/mountinfo").read_text(), os.uname().nodename
    graded(8, "box.py", before + "\n" + reference(8, "box.py"), tmp_path)
    assert (Path("/proc/self/mountinfo").read_text(), os.uname().nodename) == host
    assert graded(8, "box.py", reference(8, "box.py"), tmp_path).earned == 100


@pytest.mark.parametrize(
    "steps",
    [
        "os.mkfifo('proc/1')",  # in place of the mount of proc
        "os.symlink('/proc', 'self')",
        "os.rmdir('proc'); os.symlink('/proc', 'proc')",
        "os.rmdir('proc'); os.mkfifo('proc')",
    ],
)
def test_a_false_proc_is_no_proc(steps: str, tmp_path: Path) -> None:
    mount = '    mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)\n'
    text = reference(8, "box.py")
    assert mount in text
    text = text.replace(mount, f"    {steps}\n").replace("/proc/sys/kernel/cap_last_cap", "/last")
    text = text.replace('    pivot_root(".", "old")', "    open('last', 'w').write('40')\n"
                        '    pivot_root(".", "old")')  # fmt: skip
    grades = graded(8, "box.py", text, tmp_path)
    assert [n for n, one in enumerate(grades.verdicts, 1) if not one.passed] == [6]


# A student's folder.


def test_links_folders_and_hidden_files_are_not_handed_in(tmp_path: Path) -> None:
    (tmp_path / "vm.py").write_text("1")
    (tmp_path / "passwd").symlink_to("/etc/passwd")
    (tmp_path / "folder").mkdir()
    (tmp_path / ".hidden").write_text("2")
    os.mkfifo(tmp_path / "pipe")
    assert read_files(tmp_path, ["vm.py"]) == {"vm.py": b"1"}


def test_a_build_that_fails_fails_each_check_once(tmp_path: Path) -> None:
    with Work({"main.py": b""}, 10) as work:
        for _ in range(2):
            with pytest.raises(Failed, match="the build fails: sh: "):
                work.build("sh", "-c", "echo sh: no >&2; exit 1", most=100)
        with pytest.raises(Failed, match="more than 100 bytes"):
            work.build("sh", "-c", "while :; do echo 12345678; done", most=100)
        assert work.build("sh", "-c", "cat main.py; echo 1", most=100) == b"1\n"
