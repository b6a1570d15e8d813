"""Each defence stops an attack alone, and without them it succeeds: those that do no harm then."""

import ctypes
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import filtered
from .attacks import CAPS, DEVICES, KEYRING, PID, SECCOMP, USER, Attack, expected, outcomes
from .rootfs import add_call, make_rootfs

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_busybox,
    pytest.mark.needs_cgroups,
    pytest.mark.needs_gcc,
]

PTRACE, ADD_KEY, KEYCTL, FSOPEN = 101, 248, 250, 430
JOIN_SESSION_KEYRING, REVOKE, SEARCH, READ = 1, 3, 10, 11  # <linux/keyctl.h>
SESSION_KEYRING = -3
SEIZE = 0x4206
SECRET = "the host's"

ATTACKS = {
    "tracing a process of the host": Attack(
        f"call {PTRACE} {SEIZE} $VICTIM 0 0", (PID, USER, CAPS)
    ),
    "a signal to a process of the host": Attack("kill -0 $VICTIM", (PID, USER)),
    "going to a namespace of the host": Attack(
        f'[ "$(nsenter -t $VICTIM -m cat $FILE)" = "{SECRET}" ]', (PID, USER, CAPS, SECCOMP)
    ),
    "a key of the host's user": Attack(
        f"key=$(call {KEYCTL} {SEARCH} {SESSION_KEYRING} user ringlet-test 0) &&"
        f'[ "$(call {KEYCTL} {READ} $key @ 64)" = "{SECRET}" ]',
        (KEYRING, SECCOMP),
    ),
    # 1:11 is the kernel's log: read only.
    "a device of the host": Attack("mknod /dev/log c 1 11 && : < /dev/log", (USER, CAPS, DEVICES)),
    "a mount of its own": Attack("mount -t tmpfs none /tmp", (CAPS, SECCOMP)),
    # The kernel's parser of a file system's options (CVE-2022-0185).
    "a file system's context": Attack(f"call {FSOPEN} tmpfs 0", (CAPS, SECCOMP)),
    # Whoever maps a root has to have CAP_SETFCAP.
    "a root in a user namespace of its own": Attack("unshare -Ur true", (CAPS, SECCOMP)),
    # It is the mode that the file has already: nothing changes.
    "the mode of a file of the host in /proc": Attack("chmod 444 /proc/execdomains", (USER,)),
    "uncovering what is masked": Attack("umount /proc/keys", (CAPS, SECCOMP)),
    "writing to what is read-only": Attack(
        "mount -o remount,bind,rw none /proc/sys", (CAPS, SECCOMP)
    ),
}


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its programs, and `call`."""
    rootfs = make_rootfs(tmp_path_factory.mktemp("attacked") / "rootfs")
    add_call(rootfs)
    return rootfs


@pytest.fixture
def victim() -> Iterator[int]:
    """A process of the host."""
    with subprocess.Popen(["sleep", "100"]) as process:
        yield process.pid
        process.kill()


@pytest.fixture
def key() -> Iterator[None]:
    """A key that processes from here on may read, in a session keyring of the test's own."""
    assert filtered.call(KEYCTL, JOIN_SESSION_KEYRING, 0) > 0
    texts = [
        ctypes.create_string_buffer(text.encode()) for text in ("user", "ringlet-test", SECRET)
    ]
    type, name, value = map(ctypes.addressof, texts)
    key = filtered.call(ADD_KEY, type, name, value, len(SECRET), SESSION_KEYRING)
    assert key > 0
    yield
    assert filtered.call(KEYCTL, REVOKE, key) == 0


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("name", ATTACKS)
def test_each_defence_stops_it_alone(rootfs: Path, tmp_path: Path, victim: int, name: str) -> None:
    (tmp_path / "file").write_text(SECRET)
    script, stopped_by = ATTACKS[name]
    attack = Attack(f"VICTIM={victim}; FILE={tmp_path}/file; {script}", stopped_by)
    assert outcomes(rootfs, attack) == expected(attack)
