"""What a container of `ringlet-oci spec` is kept from: its root is the root of the host."""

import ctypes
import os
from collections.abc import Iterator

import pytest

from ringlet.container.seccomp.profile import DEFAULT

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
