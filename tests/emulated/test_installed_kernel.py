"""Kernels are found where distributions put them, and where --setup does."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.emulated.installed_kernel import _version, cache, kernels_under, named_kernel
from ringlet.errors import ConfigError

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path) -> Install:
    def put(release: str, root: Path = tmp_path, modules: bool = True) -> Path:
        vmlinuz = root / "boot" / f"vmlinuz-{release}"
        vmlinuz.parent.mkdir(parents=True, exist_ok=True)
        vmlinuz.write_bytes(b"MZ")
        if modules:
            (root / "lib" / "modules" / release).mkdir(parents=True)
        return vmlinuz

    return put


def test_newest_comes_first_and_one_without_modules_not_at_all(
    install: Install, tmp_path: Path
) -> None:
    for release in ("6.9.12-1-amd64", "6.10.3-amd64", "5.15.0-91-generic", "6.10.11-amd64"):
        install(release)
    install("7.0.0", modules=False)
    assert [kernel.modules.name for kernel in kernels_under(tmp_path)] == [
        "6.10.11-amd64",
        "6.10.3-amd64",
        "6.9.12-1-amd64",
        "5.15.0-91-generic",
    ]


@given(st.lists(st.text(alphabet="0123456789.-ab", min_size=1)))
def test_any_names_have_an_order(names: list[str]) -> None:
    paths = [Path(f"vmlinuz-{name}") for name in names]
    assert len(sorted(paths, key=_version)) == len(names)


def test_a_cache_that_others_can_write_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "ringlet").mkdir()
    assert cache() == tmp_path / "ringlet" / "nested"
    (tmp_path / "ringlet").chmod(0o777)
    with pytest.raises(ConfigError, match="others can write here"):
        cache()


def test_cache_is_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache() == tmp_path / "ringlet" / "nested"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, says the specification
    monkeypatch.setenv("HOME", "/home/me")
    assert cache() == Path("/home/me/.cache/ringlet/nested")


def test_named_one_has_its_modules_beside_it_or_named(install: Install, tmp_path: Path) -> None:
    vmlinuz = install("6.1.0")
    modules = tmp_path / "lib" / "modules" / "6.1.0"
    assert named_kernel(str(vmlinuz), None) == (vmlinuz, modules)
    alone = tmp_path / "bzImage"
    alone.write_bytes(b"MZ")
    assert named_kernel(str(alone), str(modules)) == (alone, modules)
    with pytest.raises(ConfigError, match="modules"):
        named_kernel(str(alone), None)
    with pytest.raises(ConfigError, match="nosuch"):
        named_kernel(str(alone), "nosuch")
    with pytest.raises(ConfigError, match="nosuch"):
        named_kernel(str(tmp_path / "nosuch"), None)
