import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.container.cgroups.file_access import CgroupError, below, keyed, read, write, write_all


def test_below_goes_through_every_folder_the_innermost_first(tmp_path: Path) -> None:
    for name in ("a/b/c", "a/d", "e"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "a/file").touch()
    (tmp_path / "a/link").symlink_to("/")
    seen = [os.path.join(os.readlink(f"/proc/self/fd/{at}"), it) for at, it in below(str(tmp_path))]
    assert sorted(seen) == sorted(str(tmp_path / it) for it in ("a", "a/b", "a/b/c", "a/d", "e"))
    assert seen.index(str(tmp_path / "a/b/c")) < seen.index(str(tmp_path / "a/b"))
    assert seen.index(str(tmp_path / "a/d")) < seen.index(str(tmp_path / "a"))


def test_below_removes_a_tree_deeper_than_any_path(tmp_path: Path, no_leak: None) -> None:
    depth = 3000
    top = os.open(tmp_path, os.O_RDONLY)
    here = top
    for _ in range(depth):
        os.mkdir("a", dir_fd=here)
        there = os.open("a", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = there
    os.close(here)
    count = 0
    for at, name in below(str(tmp_path)):
        os.rmdir(name, dir_fd=at)
        count += 1
    assert count == depth
    assert not list(tmp_path.iterdir())


def test_below_a_folder_that_is_gone_is_nothing(tmp_path: Path) -> None:
    assert not list(below(str(tmp_path / "gone")))


def test_a_long_file_is_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x" * 100_000)
    assert read(str(tmp_path), "file") == "x" * 100_000
    assert read(str(tmp_path), "none") is None


def test_what_the_kernel_refuses_is_named_with_its_value() -> None:
    with pytest.raises(CgroupError, match=r"^/dev/full can't be set to '5': No space left") as it:
        write("/dev", "full", "5")
    assert it.value.hint


@pytest.mark.needs_cgroups_v1
@pytest.mark.parametrize("burst_first", [True, False])
def test_limits_that_bound_one_another_are_set_in_the_order_that_works(burst_first: bool) -> None:
    folder = "/sys/fs/cgroup/cpu/ringlet-test-files"
    os.mkdir(folder)
    try:
        for quota, burst in (("1000000", "900000"), ("50000", "40000"), ("200000", "150000")):
            writes = [("cpu.cfs_burst_us", burst), ("cpu.cfs_quota_us", quota)]
            write_all(folder, writes if burst_first else writes[::-1])
            assert read(folder, "cpu.cfs_quota_us") == f"{quota}\n"
            assert read(folder, "cpu.cfs_burst_us") == f"{burst}\n"
        with pytest.raises(CgroupError, match=r"cpu.cfs_burst_us can't be set to '300000'"):
            write_all(folder, [("cpu.cfs_burst_us", "300000")])
    finally:
        os.rmdir(folder)


@given(st.text())
def test_keyed_takes_any_text(text: str) -> None:
    keyed(text)


@given(st.dictionaries(st.from_regex(r"[a-z_]+", fullmatch=True), st.integers(min_value=0)))
def test_keyed_reads_what_the_kernel_writes(values: dict[str, int]) -> None:
    assert keyed("".join(f"{key} {value}\n" for key, value in values.items())) == values
