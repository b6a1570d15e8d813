"""The configuration of a machine, from options, a TOML file or a program, and its checks."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping

from ringlet.board.layout import GIB, MIB
from ringlet.errors import ConfigError, near
from ringlet.host.serial import SERIAL_WORDS
from ringlet.host.settings import load_toml, parse_size
from ringlet.machine.guests import built_image, guest_of_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, NamedTuple

    from ringlet.host.serial import SerialTarget
    from ringlet.machine.network import Network
    from ringlet.virtio.net import NetworkEnd
else:
    from ringlet.host.named_tuple import NamedTuple

_PAGE = 4096
DECOMPRESSORS = ("host", "guest")
MAX_MEMORY = 1 << 46  # bytes; KVM's slots and a 64-bit process's address space allow little more
MAX_CPUS = 1 << 31  # no KVM supports so many vCPUs


class Disk(NamedTuple):
    """A disk of the guest: a raw image or a block device of the host.

    With `snapshot`, the guest's writes go to a temporary file, and the file at `path` stays
    unchanged.
    """

    path: str | os.PathLike[str]
    readonly: bool = False
    snapshot: bool = False


class Folder(NamedTuple):
    """A folder of the host, which the guest mounts by its `tag` (virtio-fs).

    `lifetime` is how many seconds the guest may believe what it was told of a name: 0 if the host
    changes the folder, too.
    """

    path: str | os.PathLike[str]
    tag: str
    readonly: bool = False
    lifetime: int = 0


class SerialEnd:
    """The host's end of a serial line: its target and the settings of the line.

    target      one of the targets that `ringlet.host.serial` lists, or `pipe`
    encode      turns the host's bytes into the bytes that the guest receives; it gets b"" at the
                end of the input
    raw_output  whether the guest has a terminal of its own, which processes its output
    gate        bits of the UART's MCR: while one of these bits is 0, the host sends nothing
    """

    __slots__ = ("encode", "gate", "raw_output", "target")

    def __init__(
        self,
        target: SerialTarget,
        *,
        encode: Callable[[bytes], bytes] | None = None,
        raw_output: bool = False,
        gate: int = 0,
    ) -> None:
        self.target = target
        self.encode = encode
        self.raw_output = raw_output
        self.gate = gate


class MachineConfig:
    """The configuration of a machine. Raises `ConfigError` for a value that can't be used.

    image         a path, the name of a guest (of one that comes with ringlet, or of the one that
                  the current folder builds), or the image's own bytes
    memory        bytes of RAM, a multiple of 4096; None for 64 MiB, for Linux 256 MiB
    cpus          the number of vCPUs; the guest itself starts all vCPUs after the first
    cmdline       the guest's command line
    initrd        the first module, a path or its bytes
    modules       more modules, each `FILE` or `FILE,COMMAND LINE`
    protocol      one of `ringlet.boot.PROTOCOLS`; None to detect the protocol from the image
    decompress    which side decompresses a bzImage: `host` or `guest`; None for the faster one
    force         try a Linux kernel even where this host's KVM can't run one
    load_address  the load address of a flat image; None for 0x7c00
    serial        the host's end of the serial line: a target that `ringlet.host.serial` lists, or
                  `pipe`, which makes `Machine.serial` the host's end
    disks         the guest's disks, in this order, each a `Disk` or `PATH[,readonly][,snapshot]`
    network       the guest's network: `none`, a `Network`, the text of one such as `tap:vm0` or
                  `user,forward=8080:80`, or an object such as `NetworkPort` that has the methods of
                  `ringlet.virtio.net.NetworkEnd`; the machine closes this object
    folders       folders of the host, each a `Folder` or `PATH:TAG[:ro]`
    entropy       whether there is a virtio entropy device, which gives the guest random bytes
    hvc0          the host's end of a virtio terminal, with the same values as `serial` but `pipe`;
                  None for no such terminal
    com2, com3    two more serial lines, with the same values as `serial`; None for no such UART
    timeout       seconds after which the run ends with status 124
    pit           whether there is an i8254 timer; None to do as the boot protocol expects. A
                  machine with an i8254 takes 10 ms longer to close
    """

    # Not a dataclass: importing `dataclasses` takes longer than running a small guest.
    def __init__(
        self,
        *,
        image: str | os.PathLike[str] | bytes,
        memory: int | None = None,
        cpus: int = 1,
        cmdline: str = "",
        initrd: str | os.PathLike[str] | bytes | None = None,
        modules: Sequence[str] = (),
        protocol: str | None = None,
        decompress: str | None = None,
        force: bool = False,
        load_address: int | None = None,
        serial: SerialTarget | SerialEnd = "pipe",
        com2: SerialTarget | SerialEnd | None = None,
        com3: SerialTarget | SerialEnd | None = None,
        hvc0: SerialTarget | None = None,
        disks: Sequence[Disk | str] = (),
        network: Network | NetworkEnd | str = "none",
        folders: Sequence[Folder | str] = (),
        entropy: bool = False,
        timeout: float | None = None,
        pit: bool | None = None,
    ) -> None:
        self.image = image
        self.memory = memory
        self.cpus = cpus
        self.cmdline = cmdline
        self.initrd = initrd
        self.modules = _tuple("modules", modules)
        self.protocol = protocol
        self.decompress = decompress
        self.force = force
        self.load_address = load_address
        self.serial = serial
        self.com2 = com2
        self.com3 = com3
        self.hvc0 = hvc0
        self.disks = tuple(
            parse_disk(disk) if isinstance(disk, str) else disk for disk in _tuple("disks", disks)
        )
        self.network = None if network == "none" else _network(network)
        self.folders = tuple(
            parse_folder(folder) if isinstance(folder, str) else folder
            for folder in _tuple("folders", folders)
        )
        self.entropy = entropy
        self.timeout = timeout
        self.pit = pit
        _check_types(self)
        if self.memory is not None:
            _check_memory(self.memory)
        if self.cpus < 1:
            raise ConfigError("a guest with no vCPU", "give the guest at least one")
        if self.cpus > MAX_CPUS:  # the number may have more digits than Python would print
            raise ConfigError(f"more than {MAX_CPUS} vCPUs", "give the guest fewer")
        if self.decompress not in (None, *DECOMPRESSORS):
            raise ConfigError(
                f"nobody called {self.decompress!r} decompresses a kernel",
                f"choose one of {', '.join(DECOMPRESSORS)}, or leave it out",
            )
        if self.timeout is not None and not 0 < self.timeout <= threading.TIMEOUT_MAX:
            raise ConfigError(
                "the timeout is out of range",
                f"give seconds above 0, at most {threading.TIMEOUT_MAX:g}",
            )
        lines = (self.serial, self.com2, self.com3, self.hvc0)
        targets = [line.target if isinstance(line, SerialEnd) else line for line in lines]
        if "" in targets:
            raise ConfigError("a serial line's far end is empty", "name stdio, pty or a file")
        if self.hvc0 == "pipe" or isinstance(self.hvc0, SerialEnd):
            raise ConfigError("hvc0 can't be a pipe for a program", "give two descriptors")
        if targets.count("stdio") > 1:
            raise ConfigError(
                "two lines of the guest can't share the standard streams",
                "give one of them a pty or a file",
            )


_NONE = type(None)
_PATH = (str, os.PathLike)
# The types that a program may give for each key, and their description for the hint.
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "image": ((*_PATH, bytes), "a path or the image's bytes"),
    "memory": ((int, _NONE), "bytes, such as 64 << 20"),
    "cpus": ((int,), "a whole number"),
    "cmdline": ((str,), "text"),
    "initrd": ((*_PATH, bytes, _NONE), "a path or the file's bytes"),
    "modules": ((str,), 'a list of "FILE" or "FILE,COMMAND LINE"'),  # each of them
    "protocol": ((str, _NONE), "text"),
    "decompress": ((str, _NONE), "text"),
    "force": ((bool,), "True or False"),
    "load_address": ((int, _NONE), "an address, such as 0x7c00"),
    "disks": ((Disk,), 'a list of "PATH,readonly" or Disk(PATH, readonly=True)'),  # each
    "folders": ((Folder,), 'a list of "PATH:TAG" or Folder(PATH, TAG)'),  # each
    "entropy": ((bool,), "True or False"),
    "timeout": ((int, float, _NONE), "seconds"),
    "pit": ((bool, _NONE), "True or False"),
}
_FAR_END = "a word, a path, two descriptors, or an object that has `write`"


def _check_types(config: MachineConfig) -> None:
    for key, (types, _) in _KINDS.items():
        value = getattr(config, key)
        if not all(_is_a(part, types) for part in (value if key in _LISTS else (value,))):
            raise _wrong_type(key, value)
    for disk in config.disks:
        if not all(map(_is_a, disk, (_PATH, (bool,), (bool,)))):
            raise _wrong_type("disks", tuple(disk))
    for folder in config.folders:
        if not all(map(_is_a, folder, (_PATH, (str,), (bool,), (int,)))):
            raise _wrong_type("folders", tuple(folder))
    for line in ("serial", "com2", "com3", "hvc0"):
        value = getattr(config, line)
        if not (_is_far_end(value) or (value is None and line != "serial")):
            raise _wrong_type(line, value)


def _network(value: Any) -> Network | NetworkEnd | None:
    """Returns the network that `value` describes or is. Raises `ConfigError`."""
    if callable(getattr(value, "from_guest", None)):
        end: NetworkEnd = value
        return end
    from ringlet.machine.network import Network, check_network, parse_network

    if isinstance(value, str):
        return parse_network(value)
    if not isinstance(value, Network):
        raise _wrong_type("network", value)
    check_network(value)
    return value


def _is_a(value: Any, types: tuple[type, ...]) -> bool:
    return isinstance(value, types) and (bool in types or not isinstance(value, bool))


def _is_far_end(value: Any) -> bool:
    if isinstance(value, SerialEnd):
        value = value.target
    if isinstance(value, tuple):
        return len(value) == 2 and _is_a(value[0], (int, _NONE)) and _is_a(value[1], (int,))
    return isinstance(value, _PATH) or callable(getattr(value, "write", None))


def _tuple(key: str, values: Any) -> tuple[Any, ...]:
    """Returns the items of a list as a tuple; raises `ConfigError` for a string, or for no list."""
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise _wrong_type(key, values)
    return tuple(values)


def _wrong_type(key: str, value: Any) -> ConfigError:
    name = type(value).__name__
    if isinstance(value, tuple):
        name = f"{name} of {', '.join(type(part).__name__ for part in value[:8]) or 'nothing'}"
    kind = _KINDS[key][1] if key in _KINDS else _FAR_END
    if key == "network":
        kind = "text such as tap or user, a Network, or a NetworkPort"
    return ConfigError(f"{key} is of the wrong type: {name}", f"give {kind}")


def _check_memory(memory: int) -> None:
    if memory > MAX_MEMORY:  # the number may have more digits than Python would print
        raise ConfigError(f"memory of more than {MAX_MEMORY // GIB} GiB", "give the guest less")
    if memory <= 0 or memory % _PAGE:
        raise ConfigError(
            f"memory of {memory} bytes", "give a size above 0 in pages of 4K, such as 64M"
        )
    host = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if memory > host:
        raise ConfigError(
            f"memory of {memory // MIB} MiB is more than the host has ({host // MIB} MiB)",
            "give the guest less",
        )


def parse_disk(text: str) -> Disk:
    """Parses `PATH[,readonly][,snapshot]`; a comma in the path is written twice.

    Raises `ConfigError` for an unknown option and for an empty path.
    """
    path, *options = (part.replace("\0", ",") for part in text.replace(",,", "\0").split(","))
    for option in options:
        if option not in ("readonly", "snapshot"):
            raise ConfigError(
                f"a disk has no option {option!r}",
                near(
                    option,
                    ("readonly", "snapshot"),
                    "there are readonly and snapshot; a comma of the path is written twice",
                ),
            )
    if not path:
        raise ConfigError("a disk's path is empty", "name a raw image: disk.raw")
    return Disk(path, "readonly" in options, "snapshot" in options)


def parse_folder(text: str) -> Folder:
    """Parses `PATH:TAG[:ro]`. Raises `ConfigError` for other text."""
    path, _, tag = text.removesuffix(":ro").rpartition(":")
    if not path or not tag or "/" in tag:
        raise ConfigError(f"{text!r} is no folder with a tag", "write PATH:TAG or PATH:TAG:ro")
    return Folder(path, tag, readonly=text.endswith(":ro"))


def parse_address(text: str) -> int:
    """Parses an address such as `0x7c00` or `31744`. Raises `ConfigError` for other text."""
    try:
        address = int(text, 0)
        if address < 0:
            raise ValueError
        return address
    except ValueError:
        raise ConfigError(f"{text!r} is not an address", "write it like 0x7c00") from None


_TYPES: dict[str, tuple[type, ...]] = {
    "image": (str,),
    "memory": (int, str),
    "cpus": (int,),
    "cmdline": (str,),
    "initrd": (str,),
    "modules": (list,),
    "protocol": (str,),
    "decompress": (str,),
    "force": (bool,),
    "load_address": (int, str),
    "serial": (str,),
    "com2": (str,),
    "com3": (str,),
    "hvc0": (str,),
    "disks": (list,),
    "network": (str,),
    "folders": (list,),
    "entropy": (bool,),
    "timeout": (int, float),
    "pit": (bool,),
}


_LISTS = {
    "modules": '"FILE,COMMAND LINE"',
    "disks": '"FILE,readonly"',
    "folders": '"PATH:TAG"',
}


def read_toml(path: str) -> dict[str, Any]:
    """Returns the keys of a TOML file, for `MachineConfig`. Raises `ConfigError` for a wrong file.

    A relative path in the file starts at the file's own folder. An image that isn't in that
    folder may also be the name of a guest.
    """
    checked = {key: _check_key(path, key, value) for key, value in load_toml(path, _TYPES).items()}
    folder = os.path.dirname(path)
    if "image" in checked and os.path.exists(image := os.path.join(folder, checked["image"])):
        checked["image"] = image
    if "initrd" in checked:
        checked["initrd"] = os.path.join(folder, checked["initrd"])
    if "modules" in checked:
        checked["modules"] = tuple(os.path.join(folder, module) for module in checked["modules"])
    if "disks" in checked:
        disks = map(parse_disk, checked["disks"])
        checked["disks"] = tuple(d._replace(path=os.path.join(folder, d.path)) for d in disks)
    if "network" in checked:
        checked["network"] = _network(checked["network"]) or "none"
    if "folders" in checked:
        found = map(parse_folder, checked["folders"])
        checked["folders"] = tuple(f._replace(path=os.path.join(folder, f.path)) for f in found)
    for line in ("serial", "com2", "com3", "hvc0"):
        if checked.get(line) not in (None, *SERIAL_WORDS):
            checked[line] = os.path.join(folder, checked[line])
    return checked


def _check_key(path: str, key: str, value: Any) -> Any:
    if key in _LISTS and not all(isinstance(name, str) for name in value):
        raise ConfigError(f"{path}: {key} isn't text alone", f"give a list like [{_LISTS[key]}]")
    if isinstance(value, str) and key == "memory":
        return parse_size(value)
    if isinstance(value, str) and key == "load_address":
        return parse_address(value)
    return value


def from_mapping(values: Mapping[str, Any], command: str = "boot") -> MachineConfig:
    """Returns a configuration with these keys.

    If the key `image` is missing, the image is the one that the current folder builds. `command`
    is the command of ringlet that a hint names. Raises `ConfigError` if this folder builds no
    guest, and `ImageError` if the guest isn't built.
    """
    if "image" not in values:
        own = guest_of_folder()
        if own is None:
            raise ConfigError("no image is named", f"name one: `ringlet {command} hello`")
        values = {**values, "image": built_image(own)}
    return MachineConfig(**values)
