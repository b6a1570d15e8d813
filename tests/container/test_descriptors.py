"""No descriptor of the host is open in a container, or when a path of the image is looked at.

A descriptor that is closed by exec is closed too late: exec looks its path up before. So paths
through /proc/self/fd/N are tried as everything that the image, or who uses it, may name.

Source: CVE-2024-21626; execve(2); proc(5).
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ringlet.container.launch.helper import LaunchError
from ringlet.container.launch.plan import Plan

from .box import Box
from .bundle import Bundle
from .cgroups.inside import eventually
from .rootfs import BUSYBOX, make_rootfs

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox]

FEW = range(16)
ALL = range(1024)
UP = "/.." * 8
SAYS = "out-of-the-container"


@pytest.fixture
def canary() -> Iterator[Path]:
    """A program of the host's, which prints its arguments; the container has none of its name.

    Its path is short: a PATH has it a thousand times.
    """
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        shutil.copy2(BUSYBOX, Path(folder, "echo"))
        yield Path(folder, "echo")


def says(box: Box) -> str:
    """What the command prints, or why it can't be run."""
    try:
        made = box.create()
        box.start()
    except LaunchError as error:
        return error.message
    box.wait(made)
    return box.printed()


def try_all(box: Box, canary: Path, way: str, numbers: range) -> None:
    for fd in numbers:
        path = f"/proc/self/fd/{fd}{UP}{canary}"
        if way == "command":
            box.process["args"] = [path, SAYS]
        elif way == "interpreter":
            (box.rootfs / "bin/script").write_text(f"#!{path} {SAYS}\n")
            (box.rootfs / "bin/script").chmod(0o755)
            box.process["args"] = ["script"]
        else:
            box.process.update(
                cwd=f"/proc/self/fd/{fd}{UP}", args=["sh", "-c", f".{canary} {SAYS}"]
            )
        assert SAYS not in says(box), path


WAYS = ["command", "interpreter", "cwd"]


@pytest.mark.parametrize("way", WAYS)
def test_no_descriptor_leads_out(box: Box, canary: Path, way: str) -> None:
    try_all(box, canary, way, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_none_of_all_descriptors_leads_out(box: Box, canary: Path, way: str) -> None:
    try_all(box, canary, way, ALL)


def through_path(box: Box, canary: Path) -> None:
    folders = [f"/proc/self/fd/{fd}{UP}{canary.parent}" for fd in ALL]
    box.process.update(args=["echo", SAYS], env=["PATH=" + ":".join(folders)])


def test_no_entry_of_path_leads_out(box: Box, canary: Path) -> None:
    through_path(box, canary)
    assert "executable file not found" in says(box)


@pytest.fixture
def left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Descriptors of the host's are open until exec."""
    add = Plan.add
    monkeypatch.setattr(
        Plan, "add", lambda self, step, *words: step == "close" or add(self, step, *words)
    )


@pytest.mark.usefixtures("left_open")
def test_with_descriptors_left_open_an_entry_of_path_leads_out(box: Box, canary: Path) -> None:
    through_path(box, canary)
    assert says(box) == f"{SAYS}\n"


@pytest.mark.usefixtures("left_open")
@pytest.mark.parametrize("way", ["command", "interpreter"])
def test_with_descriptors_left_open_a_program_is_the_hosts(
    box: Box, canary: Path, way: str
) -> None:
    with pytest.raises(AssertionError, match=SAYS):
        try_all(box, canary, way, FEW)


@pytest.mark.usefixtures("left_open")
def test_with_descriptors_left_open_a_working_directory_is_outside_which_is_seen(box: Box) -> None:
    """It has a defence of its own."""
    said = []
    for fd in FEW:
        box.process.update(cwd=f"/proc/self/fd/{fd}{UP}", args=["true"])
        said.append(says(box))
    assert any("it is outside of the container" in one for one in said)


def test_a_hook_of_the_image_is_led_nowhere(box: Box, canary: Path) -> None:
    for fd in FEW:
        path = f"/proc/self/fd/{fd}{UP}{canary}"
        box.config["hooks"] = {"startContainer": [{"path": path}]}
        assert "startContainer" in says(box), path
        assert not (box.folder / "start").exists()


# ---- What is open in each process that is started ----


@pytest.fixture
def lists(bundle: Bundle) -> Bundle:
    """Its program `list` writes what it has open to the file that it is told."""
    script = "#!/bin/sh\nls /proc/self/fd > $1\n"
    (bundle.rootfs / "bin/list").write_text(script)
    (bundle.rootfs / "bin/list").chmod(0o755)
    (bundle.rootfs / "out").mkdir(mode=0o777)
    bundle.config["root"]["readonly"] = False
    return bundle


def streams_alone(path: Path, preserved: int = 0) -> bool:
    """`ls` has the folder open that it lists, as the first descriptor that is free."""
    assert eventually(lambda: path.exists() and path.read_text().endswith("\n"))
    return path.read_text().split() == [str(fd) for fd in range(4 + preserved)]


@pytest.fixture
def leaking() -> Any:
    """Descriptors of the host's that ringlet's process has, and that exec leaves open."""
    fds = [os.open("/", os.O_RDONLY) for _ in range(8)]
    for fd in fds:
        os.set_inheritable(fd, True)
    yield fds
    for fd in fds:
        os.close(fd)


def test_of_create_run_and_exec(lists: Bundle, leaking: list[int]) -> None:
    out = lists.rootfs / "out"
    lists.config["process"]["args"] = ["list", "/out/created"]
    lists.write()
    for words in (["create", "--bundle", str(lists.path), "one"], ["start", "one"]):
        assert lists.oci(*words, pass_fds=leaking).returncode == 0
    assert streams_alone(out / "created")
    assert lists.oci("delete", "--force", "one").returncode == 0
    lists.config["process"]["args"] = ["sh", "-c", "list /out/run; sleep 100"]
    lists.write()
    run = ["run", "--detach", "--bundle", str(lists.path), "one"]
    assert lists.oci(*run, pass_fds=leaking).returncode == 0
    assert streams_alone(out / "run")
    exec = ["exec", "one", "list", "/out/exec"]
    assert lists.oci(*exec, pass_fds=leaking).returncode == 0
    assert streams_alone(out / "exec")
    detached = ["exec", "--detach", "one", "list", "/out/detached"]
    assert lists.oci(*detached, pass_fds=leaking).returncode == 0
    assert streams_alone(out / "detached")


def test_of_what_is_preserved(lists: Bundle) -> None:
    lists.config["process"]["args"] = ["list", "/out/kept"]
    lists.write()
    words = ["--root", lists.root, "run", "--preserve-fds", "2", "--bundle", lists.path, "one"]
    script = (
        "import os; os.dup2(0, 3); os.dup2(0, 4); os.closerange(5, 100);"
        f"from ringlet.oci.main import run; run({list(map(str, words))!r})"
    )
    words = [sys.executable, "-c", script]
    subprocess.run(words, stdin=subprocess.DEVNULL, check=True)
    assert streams_alone(lists.rootfs / "out/kept", preserved=2)


@pytest.mark.parametrize("is_meant", [True, False])
def test_of_what_systemd_hands_on_to_another_process(lists: Bundle, is_meant: bool) -> None:
    """Who starts ringlet may have the variables of a socket unit, and 3 be a file of its own."""
    lists.config["process"]["args"] = ["list", "/out/kept"]
    lists.write()
    words = ["--root", lists.root, "run", "--bundle", lists.path, "one"]
    script = (
        "import os; os.dup2(0, 3); os.closerange(4, 100);"
        f"os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid() + {int(not is_meant)}));"
        f"from ringlet.oci.main import run; run({list(map(str, words))!r})"
    )
    subprocess.run([sys.executable, "-c", script], stdin=subprocess.DEVNULL, check=True)
    assert streams_alone(lists.rootfs / "out/kept", preserved=int(is_meant))


@pytest.mark.parametrize("kept", [1, 2])
def test_a_descriptor_that_is_to_be_passed_on_and_is_closed_is_refused(
    lists: Bundle, kept: int
) -> None:
    """The helper's own descriptors would take its number, and be passed on."""
    lists.config["process"]["args"] = ["list", "/out/kept"]
    lists.write()
    words = ["--root", lists.root, "run", "--bundle", lists.path, "one"]
    script = (
        "import os; os.closerange(3, 100); kept = " + str(kept) + "; kept > 1 and os.dup2(0, 3);"
        "os.environ.update(LISTEN_FDS=str(kept), LISTEN_PID=str(os.getpid()));"
        f"from ringlet.oci.main import run; raise SystemExit(run({list(map(str, words))!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, "isn't open" in done.stderr) == (1, True), done.stderr
    assert not (lists.rootfs / "out/kept").exists()


def test_of_hooks(lists: Bundle, tmp_path: Path, leaking: list[int]) -> None:
    script = tmp_path / "list"
    script.write_text("#!/bin/sh\nexec ls /proc/self/fd > $1\n")
    script.chmod(0o755)
    points = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    lists.config["hooks"] = {
        point: [{"path": str(script), "args": ["list", str(tmp_path / point)]}] for point in points
    }
    inside = {"path": "/bin/list", "args": ["list", "/out/startContainer"], "env": ["PATH=/bin"]}
    lists.config["hooks"]["startContainer"] = [inside]
    done = lists.run("true", pass_fds=leaking)
    assert done.returncode == 0, done.stderr
    for point in points:
        assert streams_alone(tmp_path / point), point
    assert streams_alone(lists.rootfs / "out/startContainer")


def test_of_ringlet_run_and_its_guard(tmp_path: Path, leaking: list[int]) -> None:
    rootfs = make_rootfs(tmp_path / "rootfs")
    program = "from ringlet.cli import main; main()"
    script = "ls /proc/self/fd; read line"
    with subprocess.Popen(
        [sys.executable, "-c", program, "run", str(rootfs), "--", "sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=leaking,
    ) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(4)] == [b"0\n", b"1\n", b"2\n", b"3\n"]
        guards = [
            folder for folder in Path("/proc").glob("[0-9]*") if is_guard_of(folder, process.pid)
        ]
        assert len(guards) == 1
        links = [os.readlink(fd) for fd in (guards[0] / "fd").iterdir()]
        assert {link.partition(":")[0] for link in links} <= {"socket", "anon_inode", *KEPT}
        assert os.readlink(guards[0] / "cwd") == "/"
        process.communicate(b"\n")


KEPT = ("/sys/fs/cgroup",)


def is_guard_of(folder: Path, pid: int) -> bool:
    """Whether it is the helper, with a pidfd of `pid`."""
    try:
        if not (folder / "cmdline").read_bytes().startswith(b"ringlet-container"):
            return False
        about = [one.read_text() for one in (folder / "fdinfo").iterdir()]
    except OSError:  # it has ended
        return False
    return any(f"\nPid:\t{pid}\n" in text for text in about)
