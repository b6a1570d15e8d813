"""Hooks as engines use them, HOME, and a root without pivot_root.

Source: OCI Runtime Specification 1.3, config.md ("POSIX-platform Hooks").
"""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ringlet.container.spec.config_json import SpecError

from ..box import Box
from ..bundle import OCI, Bundle
from ..rootfs import add_call

pytestmark = [pytest.mark.needs_mount_namespace, pytest.mark.needs_busybox]

SHOWS = (
    "grep -E '^(Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp|Uid|Gid):' /proc/self/status;"
    "ulimit -n; umask"
)


def holding(*capabilities: str) -> Any:
    return {name: list(capabilities) for name in ("bounding", "permitted", "effective")}


def shell(script: str, **more: Any) -> Any:
    return {"path": "/bin/sh", "args": ["sh", "-c", script], **more}


@pytest.fixture
def injected(tmp_path: Path, bundle: Bundle) -> Path:
    """A folder that a hook mounts in the container, as those do that bring devices or secrets."""
    folder = tmp_path / "injected"
    folder.mkdir()
    (folder / "secret").write_text("injected\n")
    (bundle.rootfs / "injected").mkdir()
    return folder


def test_what_a_hook_of_the_containers_namespace_mounts_the_container_has(
    bundle: Bundle, injected: Path
) -> None:
    target = bundle.rootfs / "injected"
    bundle.config["hooks"] = {"createContainer": [shell(f"mount --bind {injected} {target}")]}
    done = bundle.run("cat /injected/secret")
    assert done.stdout == "injected\n", done.stderr
    assert list(target.iterdir()) == []  # nothing of it on the host


@pytest.mark.parametrize("point", ["prestart", "createRuntime"])
def test_a_hook_of_the_runtimes_namespace_finds_the_root_by_the_process(
    bundle: Bundle, injected: Path, point: str
) -> None:
    """It enters the process's mount namespace; all is mounted, and the root is at its path."""
    target = bundle.rootfs / "injected"
    look = f"test -e {bundle.rootfs}/proc/1/stat && mount --bind {injected} {target}"
    script = (
        'pid=$(sed "s/.*\\"pid\\": *\\([0-9]*\\).*/\\1/");'
        f"test $(readlink /proc/$pid/ns/mnt) != $(readlink /proc/self/ns/mnt) &&"
        f"nsenter --mount=/proc/$pid/ns/mnt sh -c '{look}'"
    )
    bundle.config["hooks"] = {point: [shell(script)]}
    done = bundle.run("cat /injected/secret")
    assert done.stdout == "injected\n", done.stderr


def test_what_a_hook_mounts_on_the_host_is_in_a_root_that_the_host_shares(
    bundle: Bundle, injected: Path
) -> None:
    target = bundle.rootfs / "injected"
    bundle.config["hooks"] = {"createRuntime": [shell(f"mount --bind {injected} {target}")]}
    bundle.write("cat /injected/secret")

    folder = bundle.path
    words = [*OCI, "--root", str(bundle.root), "run", "--bundle", str(folder), "one"]
    script = f'mount --bind {folder} {folder} && mount --make-shared {folder} && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "injected\n", done.stderr


def test_a_hook_of_the_hosts_has_its_starters_umask(box: Box, tmp_path: Path) -> None:
    file = tmp_path / "umask"
    box.config["hooks"] = {"createContainer": [shell(f"umask > {file}")]}
    old = os.umask(0o27)
    try:
        box.run("true")
    finally:
        os.umask(old)
    assert file.read_text() == "0027\n"


@pytest.mark.parametrize("no_new_privs", [True, False])
def test_a_hook_of_the_images_has_what_the_command_has(box: Box, no_new_privs: bool) -> None:
    (box.rootfs / "tmp").chmod(0o777)
    box.process.update(
        user={"uid": 1000, "gid": 1000, "umask": 0o37},
        noNewPrivileges=no_new_privs,
        capabilities=holding("CAP_KILL"),
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": 99, "hard": 99}],
    )
    rule = {"names": ["acct"], "action": "SCMP_ACT_ERRNO"}
    box.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    environment = ["PATH=/bin"]
    script = f"({SHOWS}) > /tmp/hook"
    box.config["hooks"] = {"startContainer": [shell(script, env=environment)]}
    printed = box.run(SHOWS)
    assert (box.rootfs / "tmp/hook").read_text() == printed
    assert "Seccomp:\t2" in printed
    assert "CapBnd:\t0000000000000020" in printed


@pytest.mark.needs_gcc
def test_a_hook_of_the_images_cant_trace_the_process_that_waits_for_it(box: Box) -> None:
    add_call(box.rootfs)
    box.process["capabilities"] = holding("CAP_SYS_PTRACE")
    script = "ls -l /proc/1/fd; grep CapPrm /proc/1/status"
    box.config["hooks"] = {"startContainer": [shell(f"({script}) > /tmp/hook 2>&1")]}
    box.run("true")
    seen = (box.rootfs / "tmp/hook").read_text()
    assert "CapPrm:\t0000000000080000" in seen
    leads = {
        line.rpartition("-> ")[2].partition(":")[0] for line in seen.splitlines() if "->" in line
    }
    assert not any(lead.startswith("/proc") or lead == "/" for lead in leads), seen


# ---- HOME ----


@pytest.mark.parametrize(
    ("user", "passwd", "home"),
    [
        (0, "root:x:0:0:root:/root:/bin/sh\n", "/root"),
        (1000, "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh", "/home/user"),
        (1000, "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n", "/home/user"),
        (7, "root:x:0:0::/root:/bin/sh\n", "/"),
        (7, "x:y:70:0::/a:\nx:y:7:0:" + "a" * 5000 + ":/b:\nx::7:0::/c\n", "/c"),
        (7, "x:y:7:0::c:\n", "/"),
        (7, "7\n:7:7\n::7\n\n::7:0:0:\n", "/"),
        (7, "", "/"),
        (7, None, "/"),
    ],
)
def test_home_is_that_of_the_containers_passwd(
    box: Box, user: int, passwd: str | None, home: str
) -> None:
    file = box.rootfs / "etc/passwd"
    file.unlink()
    if passwd is not None:
        file.write_text(passwd)
    box.process["user"] = {"uid": user, "gid": 0}
    assert box.run("echo $HOME") == f"{home}\n"


def test_home_is_what_the_environment_says(box: Box) -> None:
    box.process["env"] = ["HOME=/tmp", "PATH=/bin"]
    assert box.run("echo $HOME") == "/tmp\n"
    box.process["env"] = ["HOME=", "PATH=/bin"]
    assert box.run("echo $HOME") == "/root\n"


def test_a_passwd_that_isnt_a_file_holds_nobody(box: Box) -> None:
    file = box.rootfs / "etc/passwd"
    file.unlink()
    os.mkfifo(file)
    assert box.run("echo $HOME") == "/\n"
    file.unlink()
    file.symlink_to("/dev/zero")
    assert box.run("echo $HOME") == "/\n"


def test_a_process_that_comes_in_has_a_home(bundle: Bundle) -> None:
    (bundle.rootfs / "etc").mkdir(exist_ok=True)
    (bundle.rootfs / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    bundle.write("sleep 100")
    assert bundle.oci("run", "--detach", "--bundle", str(bundle.path), "one").returncode == 0
    assert bundle.oci("exec", "one", "sh", "-c", "echo $HOME").stdout == "/root\n"


# ---- A root that is not pivoted to ----


def bare(mounts: str) -> list[str]:
    """Where procfs or sysfs is mounted."""
    lines = [line.split() for line in mounts.splitlines()]
    return [one[4] for one in lines if one[one.index("-") + 1] in ("proc", "sysfs")]


@pytest.mark.parametrize("user", [False, True])
def test_without_a_pivot_the_hosts_proc_and_sys_are_away(box: Box, user: bool) -> None:
    if user:
        box.new("user")
    made = box.create("sleep 100", no_pivot=True)
    mounts = Path(f"/proc/{made.pid}/mountinfo").read_text()
    assert bare(mounts).count("/proc") == 1
    assert not any(path.startswith("/sys") for path in bare(mounts))


def test_without_a_pivot_no_procfs_can_be_mounted_that_shows_what_is_masked(box: Box) -> None:
    """By a user namespace in there: the kernel allows it where a bare procfs is to be seen."""
    box.linux["maskedPaths"] = ["/proc/keys"]
    script = "unshare -Ur sh -c 'unshare -mpf sh -c \"mount -t proc proc /tmp && cat /tmp/keys\"'"
    made = box.create(script, no_pivot=True)
    box.start()
    assert box.wait(made) != 0
    assert "Operation not permitted" in box.printed() or "denied" in box.printed()


@pytest.mark.parametrize("kind", ["bounding", "ambient"])
def test_without_pivot_nobody_may_take_its_root_away(box: Box, kind: str) -> None:
    box.process["capabilities"] = {kind: ["CAP_SYS_ADMIN"]}
    with pytest.raises(SpecError, match="--no-pivot"):
        box.create("true", no_pivot=True)
    box.left_nothing()


@pytest.mark.needs_root
def test_what_a_hook_of_the_host_is_told_is_not_in_the_containers_memory(box: Box) -> None:
    """The process that waits has the container's rights: whoever gets in may read it."""
    secret = "a-secret-of-the-hosts"
    box.config["hooks"] = {"createContainer": [shell("true", env=[f"SECRET={secret}"])]}
    made = box.create("true")
    found = []
    with open(f"/proc/{made.pid}/maps") as maps, open(f"/proc/{made.pid}/mem", "rb") as memory:
        for line in maps:
            first, last = (int(number, 16) for number in line.split()[0].split("-"))
            if line.split()[1][0] == "r" and "[v" not in line:
                memory.seek(first)
                held = memory.read(last - first)
                found += [word for word in (secret, str(box.bundle)) if word.encode() in held]
    box.start()
    assert box.wait(made) == 0
    assert found == []
