"""What a test needs of the machine it runs on, and a check that nothing stays open.

A machine that lacks it skips the test, with the reason; CI (`CI=true`) fails instead.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from ringlet.emulated.installed_kernel import find_kernel
from ringlet.errors import RingletError

from . import own_cgroups
from .examples import examples

_CLONE_NEWNS = 0x20000
# /dev and /etc are layers over the host's: what is made or changed there is gone with the tests.
_OWN_FOLDERS = """
set -e
mount --make-rprivate /
place=$(mktemp -d)
mount -t tmpfs none $place
for name in dev etc; do
    mkdir $place/$name $place/$name.upper $place/$name.work
    mount -t overlay none $place/$name \\
        -o lowerdir=/$name,upperdir=$place/$name.upper,workdir=$place/$name.work
    awk -v below="^/$name/" '$5 ~ below {print $5}' /proc/self/mountinfo |
        while read at; do mount --bind "$at" "$place$at"; done
    mount --rbind $place/$name /$name
done
umount -l $place
rmdir $place
"""

# Tests that make containers of `ringlet run` or look for their cgroups, or measure this host: one
# after another, while `make test` has those of other files beside them.
_ONE_AFTER_ANOTHER = (
    "cli/test_compare.py",
    "cli/test_interrupts.py",
    "cli/test_lab.py",
    "cli/test_run.py",
    "cli/test_trace_run.py",
    "compare/measures",
    "compare/ways",
    "compare/test_agreement.py",
    "compare/instances",
    "compare/test_lab.py",
    "compare/test_comparison.py",
    "container/cgroups",
    "container/test_attack_terminal.py",
    "container/test_attacks.py",
    "container/test_descriptors.py",
    "container/launch/test_guard.py",
    "container/test_hogs.py",
    "container/test_layer.py",
    "container/test_rootless.py",
    "container/test_container.py",
    "labs",
    "observe/calls/test_call_tracer.py",
    "sandbox",
    "test_docs_pages.py",
    "test_readme.py",
)

# Few tests that take long each: begun last, they would leave the other processor with nothing.
_LONG = (
    "test_core_sanitized.py",
    "container/test_fuzz_config.py",
    "container/test_interrupts.py",
    "container/test_odd_input.py",
    "virtio/test_hostile.py",
)


def pytest_sessionstart(session: pytest.Session) -> None:
    """The tests of root have mounts, a /dev, an /etc and cgroups of their own, not the host's."""
    if getattr(session.config.option, "numprocesses", None):
        return  # it runs none itself
    if os.geteuid() == 0 and ctypes.CDLL(None).unshare(_CLONE_NEWNS) == 0:
        subprocess.run(["sh", "-c", _OWN_FOLDERS], check=True)
        own_cgroups.enter()


def _has_nested_kernel() -> bool:
    try:
        find_kernel()
    except RingletError:
        return False
    return True


def _has_libseccomp() -> bool:
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return False
    return True


# marker: (what it needs, whether it's there)
NEEDS: dict[str, tuple[str, Callable[[], bool]]] = {
    "needs_kvm": (
        "a /dev/kvm that this user may open",
        lambda: os.access("/dev/kvm", os.R_OK | os.W_OK),
    ),
    "needs_root": ("root", lambda: os.geteuid() == 0),
    "needs_mount_namespace": (
        "root and mount namespaces",
        lambda: (
            os.geteuid() == 0
            and subprocess.run(["unshare", "--mount", "true"], check=False).returncode == 0
        ),
    ),
    "needs_cgroups": (
        "root, and cgroups to make some in",
        lambda: os.geteuid() == 0 and os.access("/sys/fs/cgroup", os.W_OK),
    ),
    "needs_cgroups_v1": (
        "root, and cgroup version 1",
        lambda: os.geteuid() == 0 and os.path.exists("/sys/fs/cgroup/memory/tasks"),
    ),
    "needs_tap": (
        "root, /dev/net/tun and network namespaces",
        lambda: (
            os.geteuid() == 0
            and os.path.exists("/dev/net/tun")
            and subprocess.run(["unshare", "--net", "true"], check=False).returncode == 0
        ),
    ),
    "needs_passt": ("root and passt", lambda: os.geteuid() == 0 and bool(shutil.which("passt"))),
    "needs_gcc": ("gcc", lambda: shutil.which("gcc") is not None),
    "needs_qemu": ("QEMU", lambda: shutil.which("qemu-system-x86_64") is not None),
    "needs_busybox": (
        "busybox, a static one",
        lambda: shutil.which("busybox") is not None,
    ),
    "needs_e2fsprogs": (
        "e2fsprogs",
        lambda: shutil.which("debugfs", path=os.environ["PATH"] + ":/usr/sbin:/sbin") is not None,
    ),
    "needs_libseccomp": ("libseccomp.so.2", _has_libseccomp),
    "needs_cpio": ("cpio", lambda: shutil.which("cpio") is not None),
    "needs_dpkg": ("dpkg-deb", lambda: shutil.which("dpkg-deb") is not None),
    "needs_podman": (
        "root, podman and runc",
        lambda: os.geteuid() == 0 and all(map(shutil.which, ("podman", "runc", "conmon"))),
    ),
    "needs_containerd": (
        "root and containerd",
        lambda: os.geteuid() == 0 and all(map(shutil.which, ("containerd", "ctr"))),
    ),
    "needs_chromium": ("Chromium", lambda: shutil.which("chromium") is not None),
    "needs_strace": ("strace", lambda: shutil.which("strace") is not None),
    "needs_hyperfine": ("hyperfine", lambda: shutil.which("hyperfine") is not None),
    "needs_gdb": ("gdb", lambda: shutil.which("gdb") is not None),
    "needs_nested_kernel": ("`ringlet nested --setup`, run before", _has_nested_kernel),
}


def pytest_configure(config: pytest.Config) -> None:
    # A shell's background jobs ignore these, and so would each program that a test ends by them.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    most = examples(settings.default.max_examples)
    settings.register_profile(
        "some",
        max_examples=most,
        deadline=None,  # hosts are busy
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    settings.load_profile("some")
    config.option.loadscopereorder = False  # as collected, and not by the number of tests
    for marker, (what, _) in NEEDS.items():
        config.addinivalue_line("markers", f"{marker}: the test needs {what}")
    config.addinivalue_line("markers", "slow: the test takes long, and `make test-slow` runs it")
    config.addinivalue_line("markers", "nested: the test runs inside `ringlet nested`")
    config.addinivalue_line("markers", "nested_host: the test runs `ringlet nested`, for seconds")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker, (what, is_there) in NEEDS.items():
        if item.get_closest_marker(marker) is not None and not is_there():
            if os.environ.get("CI") == "true":
                pytest.fail(f"needs {what}, and CI has to have it", pytrace=False)
            pytest.skip(f"needs {what}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def turn(item: pytest.Item) -> int:
        file = item.nodeid.removeprefix("tests/")
        return 0 if file.startswith(_ONE_AFTER_ANOTHER) else 1 if file.startswith(_LONG) else 2

    items.sort(key=turn)


class _Scheduler(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
        """What of the tests of one process stays together."""
        file = nodeid.split("::")[0].removeprefix("tests/")
        if file == "labs/test_nested_solutions.py":  # each process has a machine of its own
            return nodeid.partition("-")[0]  # by lab
        return "alone" if file.startswith(_ONE_AFTER_ANOTHER) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> _Scheduler:
    return _Scheduler(config, log)  # type: ignore[arg-type]


class Held:
    """What this process holds of the system's: descriptors, threads, mappings and their bytes."""

    def __init__(self) -> None:
        self.descriptors = sorted(_links("/proc/self/fd"))
        self.threads = len(os.listdir("/proc/self/task"))
        self.mappings = Path("/proc/self/maps").read_text().count("\n")
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        self.mapped = pages * os.sysconf("SC_PAGE_SIZE")


def _links(folder: str) -> Iterator[tuple[str, str]]:
    for name in os.listdir(folder):
        try:
            yield name, os.readlink(f"{folder}/{name}")
        except FileNotFoundError:  # the one that listdir had open
            continue


@pytest.fixture
def held() -> type[Held]:
    """Compare `held().descriptors` before and after."""
    return Held


@pytest.fixture
def no_leak() -> Iterator[None]:
    """The test leaves no descriptor and no thread behind."""
    before = Held()
    yield
    after = Held()
    assert after.descriptors == before.descriptors
    for _ in range(500):  # the kernel's thread goes a moment after join() has returned
        if after.threads <= before.threads:
            break
        time.sleep(0.01)
        after = Held()
    assert after.threads <= before.threads
