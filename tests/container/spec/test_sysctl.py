"""Kernel parameters: in which namespace each is, and which are the host's."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.container.spec.config_json import SpecError, check
from ringlet.container.spec.sysctl import sysctl_path


def try_it(name: str, *namespaces: dict[str, str]) -> None:
    linux = {"sysctl": {name: "1"}, "namespaces": list(namespaces)}
    check({"ociVersion": "1.2.0", "root": {"path": "rootfs"}, "linux": linux})


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("net.ipv4.ip_forward", "network"),
        ("net/ipv4/conf/eth0.1/rp_filter", "network"),
        ("net.ipv4.conf.eth0/1.rp_filter", "network"),
        ("kernel.shmmax", "ipc"),
        ("kernel.msg_next_id", "ipc"),
        ("fs.mqueue.msg_max", "ipc"),
        ("kernel.domainname", "uts"),
    ],
)
def test_a_parameter_needs_its_namespace(name: str, kind: str) -> None:
    try_it(name, {"type": kind})
    with pytest.raises(SpecError, match=f"no {kind} namespace of its own") as caught:
        try_it(name, {"type": "pid"})
    assert caught.value.message.startswith(f"config.json: linux.sysctl['{name}']: ")
    file = {"network": "net"}.get(kind, kind)
    with pytest.raises(SpecError, match=f"no {kind} namespace of its own"):
        try_it(name, {"type": kind, "path": f"/proc/{os.getpid()}/ns/{file}"})


@pytest.mark.parametrize("name", ["kernel.hostname", "kernel/hostname"])
def test_the_host_name_has_another_place(name: str) -> None:
    with pytest.raises(SpecError, match="`hostname` is the place for it"):
        try_it(name, {"type": "uts"})


def test_there_is_one_domain_name() -> None:
    linux = {"sysctl": {"kernel.domainname": "one"}, "namespaces": [{"type": "uts"}]}
    config = {"ociVersion": "1.3.0", "root": {"path": "rootfs"}, "linux": linux}
    assert check(config)
    assert check(config | {"domainname": "one"})
    with pytest.raises(SpecError, match=r"linux.sysctl\['kernel.domainname'\]: 'one' is not"):
        check(config | {"domainname": "two"})


def test_a_joined_namespace_is_as_good(tmp_path: Path) -> None:
    try_it("net.core.somaxconn", {"type": "network", "path": "/proc/self/ns/uts"})  # not the same
    try_it("net.core.somaxconn", {"type": "network", "path": str(tmp_path / "none")})


@pytest.mark.parametrize(
    "name",
    ["kernel.core_pattern", "vm.swappiness", "fs.file-max", "user.max_user_namespaces", "net",
     "kernel.shmmax.x", "fs.mqueue", "network.x", "kernel"],
)  # fmt: skip
def test_the_hosts_own_are_refused(name: str) -> None:
    with pytest.raises(SpecError, match="it is the host's"):
        try_it(name, *({"type": kind} for kind in ("network", "ipc", "uts", "mount")))


@pytest.mark.parametrize(
    "name",
    ["net/../kernel/core_pattern", "net.//.kernel.core_pattern", "/net/x", "net//x", "net.x.",
     ".net.x", "net/./x", "net..x"],
)  # fmt: skip
def test_no_name_leads_out_of_its_folder(name: str) -> None:
    with pytest.raises(SpecError, match="it is no kernel parameter"):
        try_it(name, {"type": "network"})


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/conf/eth0.1/x", "net/ipv4/conf/eth0.1/x"),
        ("net.ipv4.conf.eth0/1.x", "net/ipv4/conf/eth0.1/x"),
        ("net", "net"),
    ],
)
def test_the_first_separator_is_that_of_folders(name: str, path: str) -> None:
    assert sysctl_path(name) == path


@given(st.text("net./kerl_", min_size=1))
def test_what_is_accepted_stays_below_proc_sys(name: str) -> None:
    try:
        try_it(name, {"type": "network"})
    except SpecError:
        return
    assert os.path.normpath(f"/proc/sys/{sysctl_path(name)}").startswith("/proc/sys/net/")
