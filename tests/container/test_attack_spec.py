"""What a container of `ringlet-oci spec` is kept from: its root is the root of the host."""

import ctypes
import os
from collections.abc import Iterator

import pytest

from ringlet.container.seccomp.profile import DEFAULT
from ringlet.container.spec.default import READONLY, default

from .bundle import Bundle
from .rootfs import add_call

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox]

ADD_KEY, KEYCTL = 248, 250  # <asm/unistd_64.h>
LINK, UNLINK, SEARCH, READ = 8, 9, 10, 11  # <linux/keyctl.h>
SESSION, USER = -3, -4
_SECRET = b"the host's"


@pytest.fixture
def key() -> Iterator[str]:
    """The name of a key in the keyring of root's, which lives as long as root is logged in."""
    libc = ctypes.CDLL(None, use_errno=True)
    name = f"ringlet-test-{os.getpid()}"
    made = libc.syscall(ADD_KEY, b"user", name.encode(), _SECRET, len(_SECRET), USER)
    assert made > 0, os.strerror(ctypes.get_errno())
    yield name
    assert libc.syscall(KEYCTL, UNLINK, made, USER) == 0


def read_key(bundle: Bundle, key: str) -> str:
    add_call(bundle.rootfs)
    bundle.config["process"]["rlimits"] = []
    script = (
        f"call {KEYCTL} {LINK} {USER} {SESSION};"
        f"call {KEYCTL} {READ} $(call {KEYCTL} {SEARCH} {USER} user {key} 0) @ 64"
    )
    return str(bundle.run(f"PATH=/bin; {script}").stdout)


def test_the_keys_of_the_hosts_root_are_out_of_reach(bundle: Bundle, key: str) -> None:
    assert bundle.config["linux"]["seccomp"] == DEFAULT  # as `ringlet run` has it
    assert read_key(bundle, key) == ""


def test_without_the_filter_they_are_read(bundle: Bundle, key: str) -> None:
    del bundle.config["linux"]["seccomp"]
    assert _SECRET.decode() in read_key(bundle, key)


# To set the mode that a file has already changes nothing, but says whether another could be set.
# procfs itself refuses this for /proc/sys and for files of processes.
CHANGES_MODES = r"""
cd /proc && for name in [!0-9]*; do
    test -L $name || busybox find $name -name sys -prune -o -exec busybox chmod u+r {} \; -print
done 2> /dev/null"""


def test_no_file_of_the_host_in_proc_gets_another_mode(bundle: Bundle) -> None:
    done = bundle.run(CHANGES_MODES)
    assert (done.stdout, done.returncode) == ("", 0)


def test_with_the_usual_read_only_paths_alone_they_do(bundle: Bundle) -> None:
    bundle.config["linux"]["readonlyPaths"] = READONLY
    assert {"execdomains", "devices", "tty/drivers"} <= set(
        bundle.run(CHANGES_MODES).stdout.split()
    )


def test_files_of_processes_in_proc_stay_writable(bundle: Bundle) -> None:
    script = "echo name > /proc/$$/comm; echo 500 > /proc/$$/oom_score_adj; exec 2>&1"
    done = bundle.run(
        f"{script}; read n < /proc/$$/comm; read s < /proc/$$/oom_score_adj; echo $n $s"
    )
    assert done.stdout == "name 500\n"


def test_rootless_they_belong_to_nobody_in_there() -> None:
    assert default(rootless=True)["linux"]["readonlyPaths"] == READONLY
