"""What an image, a volume or a word of a configuration can be, to do harm outside.

Beside each that is about files, what a runtime that doesn't look would have done is done to the
same files, and the harm is there.
"""

import os
import shutil
import socket
import struct
import subprocess
from pathlib import Path

import pytest

from ringlet.container.launch import plan

from .box import Box, namespace
from .bundle import Bundle
from .rootfs import add_call

pytestmark = [pytest.mark.needs_mount_namespace, pytest.mark.needs_busybox]


def seen(folder: Path) -> list[object]:
    """All that is in the folder, and whose."""
    found: list[object] = []
    for path in sorted([folder, *folder.rglob("*")]):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        link = os.readlink(path) if path.is_symlink() else ""
        found.append((str(path), oct(status.st_mode), status.st_uid, status.st_gid, content, link))
    return found


def plainly(script: str) -> None:
    """What a runtime would do that looks up paths as the host does, in a mount namespace."""
    subprocess.run(["unshare", "--mount", "sh", "-ec", script], check=True)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """The host's."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "ptmx").write_text("the host's")
    return folder


def only_proc(box: Box) -> None:
    """/dev is what the image has there."""
    box.config["mounts"] = [one for one in box.config["mounts"] if one["destination"] == "/proc"]


# ---- The image's /dev ----


@pytest.fixture(params=["absolute", "relative"])
def dev(request: pytest.FixtureRequest, box: Box, outside: Path) -> Path:
    """A link in place of the image's /dev."""
    only_proc(box)
    link = box.rootfs / "dev"
    link.rmdir()
    link.symlink_to(
        outside if request.param == "absolute" else os.path.relpath(outside, box.rootfs)
    )
    return link


def test_a_dev_that_is_a_link_changes_nothing_outside(box: Box, dev: Path, outside: Path) -> None:
    """CVE-2026-41579 (runc), CVE-2026-47766 (crun): devices and links were made where it led."""
    before = seen(outside)
    box.run("ls -l /dev/ptmx /dev/fd > /dev/null && echo through > /dev/null")
    assert seen(outside) == before


def test_a_plain_link_in_such_a_dev_is_made_outside(dev: Path, outside: Path) -> None:
    plainly(f"ln -sf pts/ptmx {dev}/ptmx; mknod {dev}/null c 1 3")
    assert os.readlink(outside / "ptmx") == "pts/ptmx"
    assert (outside / "null").is_char_device()


@pytest.fixture
def console(box: Box, outside: Path) -> Path:
    """A link in place of /dev/console."""
    box.config["mounts"] = [one for one in box.config["mounts"] if one["destination"] != "/dev"]
    (box.rootfs / "dev/pts").mkdir()
    link = box.rootfs / "dev/console"
    link.symlink_to(outside / "made")
    return link


def test_a_console_that_is_a_link_makes_no_file_outside(
    box: Box, console: Path, outside: Path, tmp_path: Path
) -> None:
    """CVE-2026-88264 (crun)."""
    before = seen(outside)
    box.process["terminal"] = True
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen(1)
        box.fails("console", console_socket=str(tmp_path / "socket"))
    assert seen(outside) == before


def test_a_console_that_is_made_plainly_is_made_outside(console: Path, outside: Path) -> None:
    plainly(f": >> {console}")
    assert (outside / "made").exists()


@pytest.fixture
def null(box: Box, outside: Path) -> Path:
    """A link to a file of the host's, which is bound into the container, in place of /dev/null."""
    only_proc(box)
    (box.rootfs / "data").mkdir()
    box.mount("/data", type="bind", source=str(outside), options=["rbind"])
    link = box.rootfs / "dev/null"
    link.symlink_to("/data/ptmx")
    return link


def test_a_null_device_that_is_a_link_is_no_stream(box: Box, null: Path, outside: Path) -> None:
    """CVE-2026-88265 (crun): the file was opened as a stream, and given to the user."""
    before = seen(outside)
    box.process["user"] = {"uid": 1000, "gid": 1000}
    error = box.fails("device")
    assert "something else" in error.message
    assert seen(outside) == before


def test_a_null_device_that_is_opened_plainly_is_the_file(
    box: Box, null: Path, outside: Path
) -> None:
    root = box.rootfs
    plainly(f"mount --bind {outside} {root}/data; chroot {root} sh -c 'echo lost > /dev/null'")
    assert (outside / "ptmx").read_text() == "lost\n"


# ---- The image's /proc, where none is mounted ----


@pytest.fixture
def descriptors(box: Box) -> None:
    """Links that lead to another mount, where a runtime would look for its descriptors."""
    box.config["mounts"] = [{"destination": "/tmp", "type": "tmpfs", "source": "none"}]
    folder = box.rootfs / "proc/self/fd"
    folder.mkdir(parents=True)
    for number in range(64):
        (folder / str(number)).symlink_to("/tmp")


@pytest.mark.usefixtures("descriptors")
def test_a_root_is_read_only_whatever_the_image_calls_its_descriptors(box: Box) -> None:
    """CVE-2026-115521 (crun)."""
    box.config["root"]["readonly"] = True
    assert box.run(": > /tmp/written && echo tmp; ! (: > /written)").startswith("tmp\n")
    assert not (box.rootfs / "written").exists()


@pytest.mark.usefixtures("descriptors")
def test_a_remount_by_such_a_name_is_of_another_mount(box: Box) -> None:
    root = box.rootfs
    plainly(
        f"mount --bind {root} {root}; mount -t tmpfs none {root}/tmp;"
        f"chroot {root} mount -o remount,bind,ro none /proc/self/fd/3; : > {root}/written"
    )
    assert (root / "written").exists()


# ---- A volume in place of /proc ----


def test_what_is_written_to_proc_goes_to_the_kernel_whatever_is_at_proc(
    box: Box, tmp_path: Path
) -> None:
    """CVE-2019-16884, CVE-2019-19921, CVE-2025-52881, CVE-2025-62596: labels went to a file."""
    forward = tmp_path / "volume/sys/net/ipv4/ip_forward"
    forward.parent.mkdir(parents=True)
    forward.write_text("0")
    box.mount("/proc", type="bind", source=str(tmp_path / "volume"), options=["rbind"])
    box.mount("/real", type="proc", source="proc")
    box.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    box.process["oomScoreAdj"] = 500
    assert box.run("cat /real/sys/net/ipv4/ip_forward /real/self/oom_score_adj") == "1\n500\n"
    assert forward.read_text() == "0"


def test_what_is_plainly_written_to_such_a_proc_goes_to_the_file(box: Box, tmp_path: Path) -> None:
    forward = tmp_path / "volume/sys/net/ipv4/ip_forward"
    forward.parent.mkdir(parents=True)
    forward.write_text("0")
    plainly(
        f"mount --bind {tmp_path}/volume {box.rootfs}/proc;"
        f"chroot {box.rootfs} sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'"
    )
    assert forward.read_text() == "1\n"


# ---- Words of a configuration ----


def test_a_path_with_steps_in_it_is_a_path(box: Box, tmp_path: Path) -> None:
    """The kind of CVE-2021-43784 (runc): a mount's source that said which namespaces there are."""
    volume = tmp_path / "a\nclone  0\nready\nexec%0A"
    volume.mkdir()
    (volume / "mark").touch()
    box.mount("/data", type="bind", source=str(volume), options=["rbind"])
    made = box.create("ls /data")
    assert {namespace(made.pid, kind) for kind in ("mnt", "pid", "net")}.isdisjoint(
        {namespace("self", kind) for kind in ("mnt", "pid", "net")}
    )
    box.start()
    assert (box.wait(made), box.printed()) == (0, "mark\n")


def test_a_parameters_value_is_no_second_parameter(box: Box) -> None:
    """The kind of CVE-2022-0811 (CRI-O): a value with `+kernel.core_pattern=...` set that, too."""
    pattern = Path("/proc/sys/kernel/core_pattern")
    before = pattern.read_text()
    box.linux["sysctl"] = {"kernel.shm_rmid_forced": "1+kernel.core_pattern=|/bin/broken"}
    box.fails("sysctl")
    # What follows a line's end the kernel leaves out; it isn't a step of the plan either.
    box.linux["sysctl"] = {"kernel.shm_rmid_forced": "1\nsysctl x kernel/core_pattern broken"}
    assert box.run("cat /proc/sys/kernel/shm_rmid_forced") == "1\n"
    assert pattern.read_text() == before


def test_a_value_that_is_plainly_split_is_a_second_parameter() -> None:
    """Of an IPC namespace, in place of the whole host's core_pattern."""
    value = "kernel.shm_rmid_forced=1+kernel.msgmax=4321"
    script = (
        f"IFS=+; for one in {value}; do busybox sysctl -w $one > /dev/null; done;"
        "cat /proc/sys/kernel/shm_rmid_forced /proc/sys/kernel/msgmax"
    )
    words = ["unshare", "--ipc", "sh", "-ec", script]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n4321\n"


def test_steps_in_a_word_would_be_taken_if_it_were_not_escaped(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.linux["sysctl"] = {"kernel.shm_rmid_forced": "1\nsysctl x kernel/msgmax 4321"}
    assert box.run("cat /proc/sys/kernel/msgmax") != "4321\n"
    monkeypatch.setattr(plan, "is_plain", lambda text: True)
    box.process["args"] = ["cat", "/proc/sys/kernel/msgmax"]  # words with no space
    assert box.run() == "4321\n"


# ---- Who it is ----


def test_a_process_that_is_added_inherits_no_capability(bundle: Bundle) -> None:
    """CVE-2022-29162 (runc), CVE-2022-27650 (crun), CVE-2025-27612 (libcontainer of youki)."""
    bundle.config["process"]["capabilities"]["bounding"] = ["CAP_KILL"]
    bundle.write("sleep 100")
    bundle.oci("create", "--bundle", str(bundle.path), "one")
    bundle.oci("start", "one")
    words = ["exec", "--cap", "CAP_NET_RAW", "--user", "1", "one"]
    answer = bundle.oci(*words, "cat", "/proc/self/status")
    sets = dict(line.split(":\t") for line in answer.stdout.splitlines() if line.startswith("Cap"))
    assert int(sets["CapInh"], 16) == int(sets["CapAmb"], 16) == 0, answer.stderr
    assert int(sets["CapBnd"], 16) & 1 << 13  # CAP_NET_RAW is there to be inherited
    # And --user 1 is user 1: it was root (CVE-2026-30892, crun).
    assert bundle.oci("exec", "--user", "1", "one", "id", "-u").stdout == "1\n"


def rights(box: Box, *sets: str) -> dict[str, int]:
    """The capabilities of a user's program whose configuration names two of them in these sets."""
    box.process["user"] = {"uid": 1000, "gid": 1000}
    box.process["capabilities"] = {name: ["CAP_KILL", "CAP_DAC_OVERRIDE"] for name in sets}
    box.process["args"] = ["/bin/grep", "^Cap", "/proc/self/status"]  # a shell would run its own
    return {line.split()[0]: int(line.split()[1], 16) for line in box.run().splitlines()}


def test_another_user_than_root_has_no_capability(box: Box) -> None:
    """CVE-2016-8867, CVE-2022-24769 (Docker): ambient, inheritable ones were there for any user."""
    sets = rights(box, "bounding", "effective", "permitted")
    assert sets.pop("CapBnd:")
    assert set(sets.values()) == {0}


def test_one_that_is_ambient_would_be_any_users(box: Box) -> None:
    sets = rights(box, "bounding", "effective", "permitted", "inheritable", "ambient")
    assert sets["CapEff:"] == sets["CapBnd:"] != 0


def test_one_that_is_inherited_a_program_of_the_image_would_make_effective(box: Box) -> None:
    """Its file names CAP_KILL as inheritable: capabilities(7), "File capabilities"."""
    program = box.rootfs / "bin/grep"
    program.unlink()
    shutil.copy2(box.rootfs / "bin/busybox", program)
    revision, effective, kill = 0x0200_0000, 1, 1 << 5
    value = struct.pack("<5I", revision | effective, 0, kill, 0, 0)
    os.setxattr(program, "security.capability", value)
    before = rights(box, "bounding", "effective", "permitted")
    assert before["CapEff:"] == before["CapPrm:"] == 0
    assert rights(box, "bounding", "effective", "permitted", "inheritable")["CapEff:"] == kill


@pytest.mark.needs_gcc
@pytest.mark.parametrize(
    ("no_new_privs", "groups", "status"), [(True, [], 13), (False, [1000], 13), (False, [], 0)]
)
def test_a_denied_group_stays_denied(
    box: Box, no_new_privs: bool, groups: list[int], status: int
) -> None:
    """CVE-2022-36109 (Docker), CVE-2022-2989 (podman): a setgid program of the image sheds a group.

    `ringlet run` sets no_new_privs; without it the configuration has to name the group twice.
    """
    call = add_call(box.rootfs)
    os.chown(call, 0, 7)
    call.chmod(0o2755)
    secret = box.rootfs / "secret"
    secret.touch()
    os.chown(secret, 0, 1000)
    secret.chmod(0o604)
    box.process["user"] = {"uid": 1000, "gid": 1000, "additionalGids": groups}
    box.process["noNewPrivileges"] = no_new_privs
    made = box.create("! cat /secret 2> /dev/null && call 2 /secret 0 > /dev/null")  # 2 is open
    box.start()
    assert box.wait(made) == status, box.printed()


def test_there_are_no_checkpoints(bundle: Bundle) -> None:
    """CVE-2026-119101 (runc), CVE-2026-115520 (crun): `restore` mounted what an image named."""
    for command in ("checkpoint", "restore"):
        answer = bundle.oci(command, "one")
        assert answer.returncode == 1
        assert answer.stderr.startswith(f"ringlet-oci: unknown command {command} ")
