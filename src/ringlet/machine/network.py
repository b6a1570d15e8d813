"""A machine's network: which host end it has, from text, and the end itself."""

from __future__ import annotations

import os
import re

from ringlet.errors import ConfigError, near

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from ringlet.host.passt import Forward
    from ringlet.virtio.net import NetworkEnd
else:
    from ringlet.host.named_tuple import NamedTuple

KINDS = ("tap", "user")
_HINT = "write it like tap, tap:vm0,address=192.168.7.1/24 or user,forward=8080:80"
_MTUS = range(68, 65536)  # 68: the least of IPv4 (RFC 791)
_OPTIONS = {
    "tap": ("mac", "mtu", "address", "bridge"),
    "user": ("mac", "mtu", "forward"),
}


class Network(NamedTuple):
    """A network of the guest, and the host's end of it.

    kind      `tap`: an interface of the host. `user`: through passt, without root
    name      the name of the tap interface; empty for a name with a number
    mac       the guest's MAC address; None for a random one
    mtu       the most bytes of a packet; None for what the host's end has
    address   the host's address on the tap interface, such as 192.168.7.1/24
    bridge    the bridge that the tap interface becomes a port of
    forwards  the ports of the host that lead into the guest, each `[ADDRESS:]HOST:GUEST[/udp]`
    """

    kind: str
    name: str = ""
    mac: str | None = None
    mtu: int | None = None
    address: str | None = None
    bridge: str | None = None
    forwards: tuple[str, ...] = ()


def parse_network(text: str) -> Network | None:
    """Parses `none`, `tap[:NAME][,OPTION=VALUE]...` or `user[,OPTION=VALUE]...`.

    Raises `ConfigError` for other text.
    """
    if text == "none":
        return None
    first, *words = text.split(",")
    kind, colon, name = first.partition(":")
    if kind not in KINDS or (colon and (kind != "tap" or not name)):
        hint = _HINT if kind in KINDS else near(kind, ("none", *KINDS), _HINT)
        raise ConfigError(f"there is no network {first!r}", hint)
    values: dict[str, str] = {}
    forwards = []
    for word in words:
        option, _, value = word.partition("=")
        if option not in _OPTIONS[kind] or not value:
            raise ConfigError(
                f"a network of the kind {kind} has no option {word!r}",
                near(
                    option,
                    _OPTIONS[kind],
                    f"it has {', '.join(f'{known}=' for known in _OPTIONS[kind])}",
                ),
            )
        if option == "forward":
            forwards.append(value)
        elif option in values:
            raise ConfigError(f"a network has one {option}", "leave the others out")
        values[option] = value
    mtu = values.get("mtu")
    network = Network(
        kind,
        name,
        mac=values.get("mac"),
        # What is no number is out of range.
        mtu=None if mtu is None else int(mtu) if re.fullmatch("[0-9]{1,5}", mtu) else 0,
        address=values.get("address"),
        bridge=values.get("bridge"),
        forwards=tuple(forwards),
    )
    check_network(network)
    return network


def check_network(network: Network) -> None:
    """Raises `ConfigError` for a value that can't be used."""
    kind, name, mac, mtu, address, bridge, forwards = network
    if kind not in KINDS:
        raise ConfigError(f"there is no network {kind!r}", _HINT)
    if kind == "tap" and forwards:
        raise ConfigError("a tap interface forwards no ports", "use the kind user for that")
    if kind == "user" and (name or address is not None or bridge is not None):
        raise ConfigError(
            "a network of the kind user has no interface of the host", "use the kind tap for that"
        )
    for interface in (name or "tap", "tap" if bridge is None else bridge):
        _check_interface(interface)
    if mac is not None:
        parse_mac(mac)
    if mtu is not None and mtu not in _MTUS:
        raise ConfigError(
            "the MTU is out of range", f"give bytes, {_MTUS.start} to {_MTUS.stop - 1}"
        )
    if address is not None:
        parse_prefix(address)
    for forward in forwards:
        parse_forward(forward)


def _check_interface(name: str) -> None:
    if not re.fullmatch(r"[!-~]{1,15}", name) or set(name) & set("/:") or name in (".", ".."):
        raise ConfigError(
            f"{name!r} can't be the name of an interface",
            "give 1 to 15 printable characters, without / and :",
        )


def parse_mac(text: str) -> bytes:
    """Returns a MAC address of one station as 6 bytes. Raises `ConfigError`."""
    if not re.fullmatch("[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", text):
        raise ConfigError(f"{text!r} is no MAC address", "write it like 52:54:00:12:34:56")
    mac = bytes.fromhex(text.replace(":", ""))
    if mac[0] & 1 or not any(mac):
        raise ConfigError(
            f"{text} is the MAC address of no single station", "use one like 52:54:00:12:34:56"
        )
    return mac


def parse_prefix(text: str) -> tuple[str, int]:
    """Returns an IPv4 address and the length of its prefix. Raises `ConfigError`."""
    address, _, length = text.partition("/")
    if _is_ipv4(address) and re.fullmatch("[0-9]{1,2}", length) and 1 <= int(length) <= 32:
        return address, int(length)
    raise ConfigError(
        f"{text!r} is no IPv4 address with its prefix", "write it like 192.168.7.1/24"
    )


def parse_forward(text: str) -> Forward:
    """Parses `[ADDRESS:]HOST:GUEST[/udp]`. Raises `ConfigError`."""
    from ringlet.host.passt import Forward

    ports, slash, protocol = text.partition("/")
    *address, host, guest = ("", "", *ports.split(":"))
    where = address[2:] or ["127.0.0.1"]
    good = len(where) == 1 and _is_ipv4(where[0]) and _is_port(host) and _is_port(guest)
    if not good or (slash and protocol not in ("tcp", "udp")):
        raise ConfigError(
            f"{text!r} forwards no port",
            "write it like 8080:80, 5353:53/udp or 0.0.0.0:8080:80, the host's port first",
        )
    return Forward(int(host), int(guest), protocol or "tcp", where[0])


def _is_port(text: str) -> bool:
    return re.fullmatch("[0-9]{1,5}", text) is not None and 0 < int(text) < 65536


def _is_ipv4(text: str) -> bool:
    return (
        all(re.fullmatch("0|[1-9][0-9]{0,2}", part) and int(part) < 256 for part in text.split("."))
        and text.count(".") == 3
    )


class GuestAddress(NamedTuple):
    """The IPv4 address of a guest, with its prefix and its router; `resolver` may be empty."""

    address: str
    prefix: int
    gateway: str
    resolver: str


def guest_address(network: Network) -> GuestAddress | None:
    """Returns the address that suits a guest of `network`; None if ringlet doesn't know one.

    On a tap interface with an address, the address of the guest is the next one.
    """
    if network.kind == "user":
        from ringlet.host import passt

        return GuestAddress(passt.ADDRESS, passt.PREFIX, passt.GATEWAY, passt.RESOLVER)
    if network.address is None:
        return None
    host, prefix = parse_prefix(network.address)
    number = int.from_bytes(map(int, host.split(".")), "big") + 1
    last = 0xFFFF_FFFF >> prefix
    if number & last in (0, last):  # it has a meaning of its own in the network
        return None
    return GuestAddress(".".join(map(str, number.to_bytes(4, "big"))), prefix, host, "")


def open_network(network: Network, mac: bytes) -> NetworkEnd:
    """Opens the host's end for a guest with this MAC address. Raises `RingletError`."""
    if network.kind == "user":
        from ringlet.host.passt import Passt

        forwards = [parse_forward(forward) for forward in network.forwards]
        return Passt(mac, mtu=network.mtu, forwards=forwards)
    from ringlet.host.tap import Tap

    return Tap(
        network.name or "ringlet%d",
        mtu=network.mtu,
        address=None if network.address is None else parse_prefix(network.address),
        bridge=network.bridge,
    )


def random_mac() -> bytes:
    """Returns a MAC address that the guest's administrator gave (IEEE 802): one of QEMU's range."""
    return b"\x52\x54\x00" + os.urandom(3)
