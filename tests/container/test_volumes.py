"""Where a volume's source leads: links that a container could have made are refused."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ringlet.container import describe, volumes
from ringlet.container.container import Container
from ringlet.container.volumes import find_source
from ringlet.errors import ConfigError, RingletError
from ringlet.host.workload import Workload

from .box import Box
from .rootfs import make_rootfs

USER = 54321


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder of the host that nobody gives to a container."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "secret").write_text("the host's\n")
    return elsewhere


def test_a_path_without_links_is_what_it_was(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    assert find_source(f"{tmp_path}/a/./c/..//b/") == f"{tmp_path}/a/b"
    assert find_source("/") == "/"


def test_a_path_that_begins_here_begins_where_here_really_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_source("a") == f"{tmp_path}/a"


@pytest.mark.parametrize("path", ["{}/absent", "{}/file/below"])
def test_what_isnt_there_is_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"there is no .* for a volume"):
        find_source(path.format(tmp_path))


@pytest.mark.parametrize("name", ["/var/run", "/var/lock", "/bin"])
def test_links_of_the_system_lead_where_they_lead(name: str) -> None:
    if not os.path.islink(name):
        pytest.skip(f"{name} is no link on this host")
    assert find_source(name) == os.path.realpath(name)


@pytest.mark.parametrize("target", ["{}/elsewhere", "../elsewhere", "../volume/other"])
@pytest.mark.parametrize("below", ["", "/secret"])
def test_a_link_of_ones_own_is_refused_with_where_it_leads(
    tmp_path: Path, elsewhere: Path, target: str, below: str
) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume/other").symlink_to(elsewhere)
    (tmp_path / "volume/sub").symlink_to(target.format(tmp_path))
    with pytest.raises(ConfigError, match="volume/sub, which a container could have") as caught:
        find_source(f"{tmp_path}/volume/sub{below}")
    assert f"{elsewhere}{below}" in caught.value.hint


@pytest.mark.needs_root
@pytest.mark.parametrize(
    ("owner", "mode", "follows"), [(0, 0o755, True), (0, 0o777, False), (USER, 0o755, False)]
)
def test_another_user_than_root_follows_roots_links_in_roots_folders(
    tmp_path: Path,
    elsewhere: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: int,
    mode: int,
    follows: bool,
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.chmod(mode)
    os.chown(folder, owner, owner)
    (folder / "link").symlink_to(elsewhere)
    monkeypatch.setattr(os, "geteuid", lambda: USER)
    if follows:
        assert find_source(f"{folder}/link") == str(elsewhere)
    else:
        with pytest.raises(ConfigError):
            find_source(f"{folder}/link")


def test_links_without_an_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    monkeypatch.setattr(volumes, "_is_the_systems", lambda *words: True)
    with pytest.raises(ConfigError):
        find_source(f"{tmp_path}/a")


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    before = os.listdir("/proc/self/fd")
    for path in (tmp_path, tmp_path / "absent", tmp_path / "link"):
        with suppress(ConfigError):
            find_source(str(path))
    assert os.listdir("/proc/self/fd") == before


# ---- A container that had the volume before ----


def run(rootfs: Path, volume: str, script: str, output: Path) -> str:
    config = Workload(rootfs=rootfs, command=["sh", "-c", script], volumes=[volume])
    with (
        open(output, "wb") as file,
        open(os.devnull, "rb") as null,
        Container(config, stdio=(null.fileno(), file.fileno(), file.fileno())) as container,
    ):
        container.run()
    return output.read_text()


def plant(tmp_path: Path, elsewhere: Path) -> Path:
    """The root of a container that has left a link in the volume."""
    rootfs = make_rootfs(tmp_path / "rootfs")
    (tmp_path / "volume/sub").mkdir(parents=True)
    script = f"rmdir /v/sub && ln -s {elsewhere} /v/sub"
    assert run(rootfs, f"{tmp_path}/volume:/v", script, tmp_path / "output") == ""
    assert (tmp_path / "volume/sub").is_symlink()
    return rootfs


@pytest.mark.needs_root
@pytest.mark.needs_busybox
def test_a_container_leads_no_later_ones_volume_elsewhere(tmp_path: Path, elsewhere: Path) -> None:
    """As a volume's subPath did for kubelet."""
    rootfs = plant(tmp_path, elsewhere)
    with pytest.raises(ConfigError, match="a container could have made"):
        run(rootfs, f"{tmp_path}/volume/sub:/v", "cat /v/secret", tmp_path / "output")


@pytest.mark.needs_root
@pytest.mark.needs_busybox
def test_nor_does_one_by_a_link_that_is_made_after_the_look(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rootfs = plant(tmp_path, elsewhere)
    monkeypatch.setattr(describe, "find_source", lambda path, what="": os.path.abspath(path))
    with pytest.raises(RingletError, match="symbolic links"):
        run(rootfs, f"{tmp_path}/volume/sub:/v", "cat /v/secret", tmp_path / "output")


@pytest.mark.needs_root
@pytest.mark.needs_busybox
def test_a_link_that_is_followed_leads_elsewhere(box: Box, tmp_path: Path, elsewhere: Path) -> None:
    """As in a configuration of ringlet-oci, whose author decides on each path."""
    plant(tmp_path, elsewhere)
    box.mount("/v", type="bind", source=f"{tmp_path}/volume/sub", options=["rbind"])
    assert box.run("cat /v/secret") == "the host's\n"


def test_a_rootfs_behind_a_link_of_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rootfs").symlink_to("/")
    with pytest.raises(ConfigError, match=r"the rootfs .* is behind the link"):
        Container(Workload(rootfs=tmp_path / "rootfs", command=["true"]))


def nest(tmp_path: Path, script: str) -> str:
    """What a container that may mount says; its volume is read-only, with a file of everybody's."""
    volume = tmp_path / "volume"
    volume.mkdir(mode=0o755)
    (volume / "file").write_text("as before")
    (volume / "file").chmod(0o666)
    workload = Workload(
        rootfs=make_rootfs(tmp_path / "rootfs"),
        command=["sh", "-c", script],
        volumes=[f"{volume}:/volume:ro"],
        nesting=True,
    )
    with open(tmp_path / "said", "wb") as said, open(os.devnull, "rb") as null:
        stdio = (null.fileno(), said.fileno(), null.fileno())
        with Container(workload, stdio=stdio) as container:
            container.run()
    return (tmp_path / "said").read_text()


@pytest.mark.needs_root
@pytest.mark.needs_busybox
@pytest.mark.parametrize(
    "makes_it_writable",
    [
        "mount -o remount,bind,rw /volume",
        "mount -o remount,rw /volume",
        "mount -o bind /volume /tmp && mount -o remount,bind,rw /tmp && cd /tmp",
        "mount -t tmpfs none /tmp && mkdir /tmp/work && mount -t overlay none /home"
        " -o lowerdir=/tmp,upperdir=/volume,workdir=/volume && cd /home",
    ],
)
def test_who_may_mount_makes_no_read_only_volume_writable(
    tmp_path: Path, makes_it_writable: str
) -> None:
    said = nest(
        tmp_path,
        f"cd /volume; {{ {makes_it_writable}; }} && echo mounted; echo other > file"
        " || echo other > /volume/file || echo refused",
    )
    assert said == "refused\n"
    assert (tmp_path / "volume/file").read_text() == "as before"


@pytest.mark.needs_root
@pytest.mark.needs_busybox
def test_who_may_mount_makes_mounts_read_only(tmp_path: Path) -> None:
    script = (
        "mount -t tmpfs none /tmp && echo a > /tmp/file && mount -o remount,bind,ro /tmp"
        " && { echo b > /tmp/file || cat /tmp/file; }"
    )
    assert nest(tmp_path, script) == "a\n"


@pytest.mark.needs_root
@pytest.mark.needs_busybox
def test_with_another_filter_the_volume_could_be_made_writable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It's the filter that keeps it: the mount is in a mount namespace of the container's own."""
    anything: Any = {"defaultAction": "SCMP_ACT_ALLOW"}
    monkeypatch.setattr(describe, "NESTING", anything)
    said = nest(tmp_path, "mount -o remount,bind,rw /volume && echo other > /volume/file; echo end")
    assert said == "end\n"
    assert (tmp_path / "volume/file").read_text() == "other\n"
