"""What a sandbox runs: words, values and files that are taken, and that are refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.errors import ConfigError
from ringlet.host.workload import (
    Volume,
    Workload,
    parse_variable,
    parse_volume,
    read_toml,
)

KEYS: dict[str, tuple[str, Any]] = {
    "rootfs": ('"/rootfs"', "/rootfs"),
    "command": ('["sh", "-c", "id"]', ["sh", "-c", "id"]),
    "memory": ('"64M"', 64 << 20),
    "cpus": ("1.5", 1.5),
    "pids": ("10", 10),
    "volumes": (
        '["/a:/b", "/c:/d:ro", "/e:/f:rw"]',
        [Volume("/a", "/b"), Volume("/c", "/d", True), Volume("/e", "/f")],
    ),
    "env": ('{A = "1"}', {"A": "1"}),
    "workdir": ('"/tmp"', "/tmp"),
    "user": ('"www:www"', "www:www"),
    "hostname": ('"box"', "box"),
    "network": ('"host"', "host"),
    "read_only": ("true", True),
    "write": ("false", False),
    "tty": ("true", True),
    "timeout": ("2.5", 2.5),
    "stop_timeout": ("3", 3),
}


def config(**values: Any) -> Workload:
    return Workload(**{"rootfs": "/", "command": ["sh"], **values})


def refused(make: Callable[[], object]) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        make()
    assert caught.value.hint
    return caught.value


def test_what_is_not_said_is_the_safe_choice() -> None:
    made = config()
    assert (made.network, made.user, made.pids, made.write) == ("none", "0", None, False)
    assert (made.memory, made.cpus, made.timeout, made.volumes) == (None, None, None, ())


@pytest.mark.parametrize(
    "values",
    [
        {"command": []},
        {"command": [""]},
        {"command": ["sh\0"]},
        {"memory": 1},
        {"cpus": 0},
        {"cpus": float("nan")},
        {"pids": -2},
        {"network": "bridge"},
        {"workdir": "tmp"},
        {"hostname": ""},
        {"hostname": "x" * 65},
        {"timeout": 0},
        {"stop_timeout": -1},
        {"read_only": True, "write": True},
        {"timeout": float("inf")},
        {"env": {"": "x"}},
        {"env": {"A=B": "x"}},
        {"env": {"A": "\0"}},
        {"volumes": ["/a"]},
        {"volumes": ["/a\0:/b"]},
        {"volumes": ["/a:/b\0"]},
        {"rootfs": "/a\0"},
        {"user": "a\0"},
    ],
)
def test_a_value_that_cant_be_is_refused(values: dict[str, Any]) -> None:
    refused(lambda: config(**values))


@pytest.mark.parametrize(
    ("text", "volume"),
    [
        ("/a:/b", Volume("/a", "/b")),
        ("a:/b", Volume("a", "/b")),
        ("/a:/b:ro", Volume("/a", "/b", readonly=True)),
    ],
)
def test_a_volume_is_two_paths_and_ro(text: str, volume: Volume) -> None:
    assert parse_volume(text) == volume


@pytest.mark.parametrize("text", ["", "/a", "/a:", ":/b", "/a:b", "/a:/b:rx", "/a:/b:ro:rw"])
def test_another_volume_is_refused(text: str) -> None:
    refused(lambda: parse_volume(text))


@given(st.text())
def test_no_text_makes_a_volume_fail_in_another_way(text: str) -> None:
    try:
        volume = parse_volume(text)
    except ConfigError:
        return
    assert volume.path.startswith("/")


def test_a_variable_has_the_value_given_or_the_one_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE", "yes")
    monkeypatch.delenv("NOT_HERE", raising=False)
    assert parse_variable("A=b=c") == ("A", "b=c")
    assert parse_variable("A=") == ("A", "")
    assert parse_variable("HERE") == ("HERE", "yes")
    refused(lambda: parse_variable("NOT_HERE"))


def test_every_key_can_stand_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("\n".join(f"{key} = {text}" for key, (text, _) in KEYS.items()))
    values = read_toml(str(path))
    assert values == {key: value for key, (_, value) in KEYS.items()}
    Workload(**values)


def test_relative_paths_start_at_the_files_folder(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('rootfs = "root"\nvolumes = ["data:/data"]')
    values = read_toml(str(path))
    assert values["rootfs"] == f"{tmp_path}/root"
    assert values["volumes"] == [Volume(f"{tmp_path}/data", "/data")]


@pytest.mark.parametrize(
    "text",
    ["rootfs = 1", "command = 'sh'", "command = [1]", "env = {A = 1}", "volume = []", "pids = 1.0"],
)
def test_a_file_with_another_key_or_type_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    assert "run.toml" in refused(lambda: read_toml(str(path))).message
