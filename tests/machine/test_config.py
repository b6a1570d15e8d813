import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ringlet.errors import ConfigError, RingletError
from ringlet.host.workload import read_toml as read_container_toml
from ringlet.machine.config import (
    Disk,
    MachineConfig,
    from_mapping,
    parse_address,
    parse_disk,
    parse_size,
    read_toml,
)
from ringlet.machine.network import Network

MIB = 1 << 20
HOST = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

# A valid value in TOML for each key, and what comes of it.
KEYS: dict[str, tuple[str, Any]] = {
    "image": ('"hello"', "hello"),
    "memory": ('"32M"', 32 * MIB),
    "cmdline": ('"a b"', "a b"),
    "initrd": ('"/initrd"', "/initrd"),
    "modules": ('["/one,first", "/two"]', ("/one,first", "/two")),
    "protocol": ('"pvh"', "pvh"),
    "load_address": ('"0x8000"', 0x8000),
    "serial": ('"none"', "none"),
    "disks": ('["/a.raw", "/b.raw,readonly"]', (Disk("/a.raw"), Disk("/b.raw", readonly=True))),
    "network": ('"tap:vm0,mtu=1400"', Network("tap", "vm0", mtu=1400)),
    "entropy": ("true", True),
    "timeout": ("2.5", 2.5),
    "pit": ("true", True),
}


def refused(call: Callable[[], object]) -> RingletError:
    with pytest.raises(ConfigError) as caught:
        call()
    error = caught.value
    for line in (error.message, error.hint):
        assert line
        assert len(line.splitlines()) == 1
    return error


# Sizes and addresses.


@pytest.mark.parametrize(
    ("text", "size"),
    [("4096", 4096), ("0", 0), ("4K", 4096), ("64M", 64 * MIB), ("1G", 1 << 30), ("1g", 1 << 30)],
)
def test_a_size_is_a_number_and_a_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@given(st.integers(0, 1 << 64), st.sampled_from([("", 0), ("K", 10), ("m", 20), ("G", 30)]))
def test_every_number_with_a_unit_is_a_size(number: int, unit: tuple[str, int]) -> None:
    assert parse_size(f"{number}{unit[0]}") == number << unit[1]


@pytest.mark.parametrize(
    "text", ["", "M", "-1", "+1", "1.5G", "0x10", "1T", "1 M", " 1M", "64MB", "1_000", "²", "M64"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    assert repr(text) in refused(lambda: parse_size(text)).message


@given(st.one_of(st.text(), st.from_regex(r"[0-9a-zA-Z.+-]{1,6}", fullmatch=True)))
@example("9" * 5000)  # more digits than int() takes
@example("9" * 4300 + "G")
@example("\n")
@example("1\u2028M")
def test_any_text_is_a_size_or_is_refused(text: str) -> None:
    try:
        size = parse_size(text)
    except ConfigError:
        refused(lambda: parse_size(text))
    else:
        assert size >= 0
        assert re.fullmatch(r"\d+[kKmMgG]?", text)


@pytest.mark.parametrize(
    ("text", "address"), [("0x7c00", 0x7C00), ("31744", 0x7C00), ("0", 0), ("0X10", 16)]
)
def test_an_address_is_decimal_or_hexadecimal(text: str, address: int) -> None:
    assert parse_address(text) == address


@given(st.text())
@example("9" * 5000)
@example("0x")
@example("07c00")
def test_any_text_is_an_address_or_is_refused(text: str) -> None:
    try:
        parse_address(text)
    except ConfigError:
        assert "0x7c00" in refused(lambda: parse_address(text)).hint


# MachineConfig.


def test_two_serial_lines_do_not_share_the_standard_streams() -> None:
    with pytest.raises(ConfigError, match="can't share the standard streams"):
        MachineConfig(image="hello", serial="stdio", com2="stdio")


def test_all_but_the_image_has_a_default() -> None:
    config = MachineConfig(image="hello")
    assert (config.memory, config.cmdline, config.serial) == (None, "", "pipe")
    assert (config.initrd, config.modules, config.protocol) == (None, (), None)
    assert (config.load_address, config.timeout, config.pit) == (None, None, None)


@pytest.mark.parametrize("memory", [0, -4096, 1, 4095, 4097, 64 * MIB + 1])
def test_memory_is_whole_pages(memory: int) -> None:
    assert str(memory) in refused(lambda: MachineConfig(image="x", memory=memory)).message


@pytest.mark.parametrize(
    "memory",
    [(HOST // 4096 + 1) * 4096, 1 << 46, 1 << 64, pytest.param(1 << 20000, id="6000 digits")],
)
def test_memory_beyond_the_hosts_is_refused(memory: int) -> None:
    error = refused(lambda: MachineConfig(image="x", memory=memory))
    assert "less" in error.hint
    assert len(error.message) < 100


def test_memory_of_one_page_is_enough_to_be_a_machine() -> None:
    assert MachineConfig(image="x", memory=4096).memory == 4096


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 1e300, 10**300])
def test_a_timeout_that_can_never_come_is_refused(timeout: float) -> None:
    refused(lambda: MachineConfig(image="x", timeout=timeout))


@pytest.mark.parametrize("timeout", [0.001, 1, 86400])
def test_a_timeout_is_seconds(timeout: float) -> None:
    assert MachineConfig(image="x", timeout=timeout).timeout == timeout


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, wrong) for key in KEYS for wrong in (object(), {}, 1j, {"a": 1}, [[1]], (1, 2, 3))),
        *(
            (key, None)
            for key in (
                *("image", "cpus", "cmdline", "modules", "force", "serial", "disks", "entropy"),
            )
        ),
        *((key, True) for key in ("memory", "cpus", "load_address", "timeout", "com2")),
        *((key, 1.5) for key in ("memory", "cpus", "load_address", "pit", "entropy")),
        *((key, "1") for key in ("memory", "cpus", "load_address", "timeout", "pit", "force")),
        *((key, 1) for key in ("image", "cmdline", "initrd", "protocol", "decompress", "pit")),
        *((key, b"x") for key in ("cmdline", "protocol", "modules", "disks", "serial")),
        ("modules", "module,words"),
        ("modules", [Path("module")]),
        ("disks", "disk.raw"),
        ("disks", [Path("disk.raw")]),
        ("disks", [("disk.raw", True, False)]),
        ("disks", [Disk("disk.raw", readonly=1)]),  # type: ignore[arg-type]
        ("disks", [Disk(None)]),  # type: ignore[arg-type]
        ("serial", (1,)),
        ("serial", (None, None)),
        ("com3", ("in", "out")),
        ("com2", (True, False)),
    ],
)
def test_a_value_of_another_type_from_a_program_is_refused(key: str, value: Any) -> None:
    error = refused(lambda: MachineConfig(**{"image": "hello", key: value}))
    assert error.message.startswith(f"{key} is of the wrong type: ")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("image", b"bytes"),
        ("image", Path("hello")),
        ("initrd", b"bytes"),
        ("initrd", Path("initrd")),
        ("modules", iter(["one", "two,words"])),
        ("disks", [Disk(Path("disk.raw"), True), "disk.raw,snapshot"]),
        ("serial", (None, 1)),
        ("serial", (0, 1)),
        ("com2", Path("console")),
        ("com3", open(os.devnull, "wb")),  # noqa: SIM115
        ("timeout", 3),
        ("timeout", 0.5),
        ("pit", False),
    ],
)
def test_each_type_that_may_be_given_is_taken(key: str, value: Any) -> None:
    MachineConfig(**{"image": "hello", key: value})


def test_a_serial_line_to_nowhere_is_refused() -> None:
    refused(lambda: MachineConfig(image="x", serial=""))


def test_from_mapping_takes_every_key() -> None:
    values = {key: value for key, (_, value) in KEYS.items()}
    config = from_mapping(values)
    assert {key: getattr(config, key) for key in KEYS} == values


def test_from_mapping_needs_an_image() -> None:
    assert "image" in refused(lambda: from_mapping({"memory": 4096})).message


# TOML.


@pytest.fixture
def toml(tmp_path: Path) -> Callable[[str | bytes], dict[str, Any]]:
    """Reads this text as vm.toml."""

    def read(text: str | bytes) -> dict[str, Any]:
        path = tmp_path / "vm.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_toml(str(path))

    return read


Read = Callable[[str | bytes], dict[str, Any]]


def test_every_key_can_stand_in_the_file(toml: Read) -> None:
    text = "".join(f"{key} = {written}\n" for key, (written, _) in KEYS.items())
    assert toml(text) == {key: value for key, (_, value) in KEYS.items()}


def test_an_empty_file_says_nothing(toml: Read) -> None:
    assert toml("") == {}


def test_sizes_and_addresses_can_be_numbers(toml: Read) -> None:
    assert toml("memory = 8192\nload_address = 0x9000\ntimeout = 3") == {
        "memory": 8192,
        "load_address": 0x9000,
        "timeout": 3,
    }


def test_an_unknown_key_names_those_there_are(toml: Read) -> None:
    error = refused(lambda: toml("memroy = 1"))
    assert "'memroy'" in error.message
    for key in KEYS:
        assert key in error.hint


@pytest.mark.parametrize("key", KEYS)
def test_a_value_of_another_type_is_refused(toml: Read, key: str) -> None:
    huge = "0x" + "f" * 5000  # more digits than Python prints
    for wrong in ("{ a = 1 }", "1979-05-27", f"[{huge}]", f"{{ a = {huge} }}", "[[1]]"):
        assert key in refused(partial(toml, f"{key} = {wrong}")).message
    if key not in ("entropy", "pit"):
        refused(lambda: toml(f"{key} = true"))
    if key not in ("memory", "load_address", "timeout"):
        refused(lambda: toml(f"{key} = 1"))
    if key != "timeout":
        refused(lambda: toml(f"{key} = 1.5"))
    if key in ("timeout", "entropy", "pit", "modules", "disks"):
        refused(lambda: toml(f'{key} = "x"'))


def test_a_number_beyond_all_measure_is_refused(toml: Read) -> None:
    for key in ("memory", "timeout"):
        for number in ("0x" + "f" * 5000, "9" * 5000):
            text = f"image = 'x'\n{key} = {number}"
            refused(lambda text=text: from_mapping(toml(text)))  # type: ignore[misc]


@pytest.mark.parametrize("text", ['memory = "64X"', 'load_address = "there"', 'memory = "\\n"'])
def test_a_size_or_address_that_cant_be_read_is_refused(toml: Read, text: str) -> None:
    refused(lambda: toml(text))


@pytest.mark.parametrize(
    "text",
    [
        b"memory 64",
        b"a = 1\na = 2",
        b"[[[[",
        b"\xff\xfe\x00",
        pytest.param(b"a = " + b"[" * 100_000, id="deep"),
        pytest.param(b"a = " + b"9" * 5000, id="5000 digits"),
        b"\x7fELF\x02\x01\x01" + bytes(57),
        b'x = "\n"',
    ],
)
def test_what_is_not_toml_is_refused(toml: Read, text: bytes) -> None:
    assert "not TOML" in refused(lambda: toml(text)).message


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(data)
    try:
        values = read_toml(str(path))
    except ConfigError:
        refused(lambda: read_toml(str(path)))
    else:
        assert set(values) <= set(KEYS)


def test_a_file_that_cant_be_read_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refused(lambda: read_toml(str(tmp_path / "none"))).message
    assert "directory" in refused(lambda: read_toml(str(tmp_path))).message
    refused(lambda: read_toml("a\0b"))


def test_a_relative_path_starts_at_the_files_folder(
    toml: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    for name in ("kernel", "initrd", "module", "with,comma"):
        (tmp_path / name).touch()
    values = toml('image = "kernel"\ninitrd = "initrd"\nmodules = ["module,its, line", "module"]')
    assert values["image"] == str(tmp_path / "kernel")
    assert values["initrd"] == str(tmp_path / "initrd")
    assert values["modules"] == (f"{tmp_path}/module,its, line", f"{tmp_path}/module")
    # Only a module has a command line after a comma.
    assert toml('image = "with,comma"')["image"] == str(tmp_path / "with,comma")


def test_an_absolute_path_stays_and_so_does_a_guests_name(toml: Read, tmp_path: Path) -> None:
    (tmp_path / "kernel").touch()
    assert toml(f'image = "{tmp_path}/kernel"')["image"] == f"{tmp_path}/kernel"
    assert toml('image = "hello"')["image"] == "hello"


@pytest.mark.parametrize(
    ("text", "disk"),
    [
        ("a.raw", Disk("a.raw")),
        ("a.raw,readonly", Disk("a.raw", readonly=True)),
        ("a.raw,snapshot", Disk("a.raw", snapshot=True)),
        ("a.raw,snapshot,readonly", Disk("a.raw", readonly=True, snapshot=True)),
        ("a,,b.raw,readonly", Disk("a,b.raw", readonly=True)),
        ("readonly", Disk("readonly")),
    ],
)
def test_a_disk_is_a_path_and_its_options(text: str, disk: Disk) -> None:
    assert parse_disk(text) == disk


@given(path=st.text(min_size=1).filter(lambda path: "\0" not in path))
def test_any_path_can_be_a_disks_with_its_commas_doubled(path: str) -> None:
    assert parse_disk(path.replace(",", ",,") + ",readonly") == Disk(path, readonly=True)


@pytest.mark.parametrize("text", ["", ",readonly", "a.raw,", "a.raw,ro", "a.raw,readonly=1"])
def test_a_disk_without_a_path_or_with_another_option_is_refused(text: str) -> None:
    refused(lambda: parse_disk(text))


def test_a_disks_path_in_a_file_starts_at_its_folder(toml: Read, tmp_path: Path) -> None:
    values = toml('disks = ["a.raw", "/b.raw,snapshot"]')
    assert values["disks"] == (Disk(f"{tmp_path}/a.raw"), Disk("/b.raw", snapshot=True))


def test_a_file_without_an_end_or_a_writer_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in ("/dev/zero", str(tmp_path / "fifo")):
        assert "isn't a regular file" in refused(partial(read_toml, path)).message
        assert "isn't a regular file" in refused(partial(read_container_toml, path)).message
    (tmp_path / "large").write_bytes(b"#" * ((1 << 20) + 1))
    assert "more than" in refused(lambda: read_toml(str(tmp_path / "large"))).message
