"""What a nested run may be."""

import os
from pathlib import Path
from typing import Any

import pytest

from ringlet.board.layout import GIB, MIB
from ringlet.emulated.nested_config import NestedConfig
from ringlet.errors import ConfigError


def test_defaults_suit_any_host() -> None:
    config = NestedConfig(["true"])
    assert config.cpus == 1
    assert config.memory == 2 * GIB
    assert config.command == ("true",)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"command": []}, "no command"),
        ({"cpus": 0}, "CPUs"),
        ({"cpus": 256}, "CPUs"),
        ({"memory": 64 * MIB}, "memory"),
        ({"memory": GIB + 1}, "memory"),
        ({"memory": 1 << 60}, "memory"),
        ({"share": "/nosuch"}, "/nosuch"),
        ({"share": __file__}, "no such folder"),
        ({"modules": "/lib"}, "--modules"),
        ({"timeout": 0.0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
    ],
)
def test_what_can_not_be_is_refused(options: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        NestedConfig(**({"command": ["true"]} | options))


def test_share_is_where_it_really_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    assert NestedConfig(["true"], share="link").share == os.path.realpath(tmp_path / "real")
