"""What the init of a nested machine is told."""

from pathlib import Path

import pytest

from ringlet.emulated.init_plan import _plan, initramfs
from ringlet.emulated.installed_kernel import find_kernel
from ringlet.emulated.nested_config import NestedConfig
from ringlet.errors import ConfigError


def test_the_command_has_our_folder_environment_and_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("A_NAME", "a value\nof two lines")
    lines = list(_plan(NestedConfig(["program", "100 %"]), None))
    assert b"cwd " + str(tmp_path).encode() in lines
    assert b"env A_NAME=a%20value%0Aof%20two%20lines" in lines
    assert [line for line in lines if line.startswith(b"arg")] == [b"arg program", b"arg 100%20%25"]


def test_a_folder_that_is_gone_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    with pytest.raises(ConfigError, match="current folder is gone"):
        list(_plan(NestedConfig(["true"]), None))


@pytest.mark.needs_nested_kernel
@pytest.mark.parametrize("shadow", [False, True])
def test_with_shadow_paging_kvm_does_without_nested_paging(shadow: bool) -> None:
    config = NestedConfig(["true"], shadow_paging=shadow)
    with initramfs(config, find_kernel()) as file:
        file.seek(0)
        assert (b"module /modules/kvm_amd.ko npt=0\n" in file.read()) == shadow
