"""A container's state that isn't what was written: told, kept apart, and removed."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.container.state import DamageError, Store

from .bundle import Bundle

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox, pytest.mark.needs_cgroups]


def _text(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


def _huge(path: Path) -> None:
    with path.open("w") as file:
        file.truncate(1 << 30)


def _in_a_new_folder(path: Path) -> None:
    path.mkdir()
    (path / "file").touch()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "empty": _text(""),
    "cut short": _text('{"bundle": "/'),
    "not UTF-8": lambda path: path.write_bytes(b'{"bundle": "\xff"}'),
    "a list": _text("[]"),
    "a number of many digits": _text("9" * 5000),
    "nested deep": _text("[" * 100_000),
    "a FIFO": lambda path: os.mkfifo(path),
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a folder": _in_a_new_folder,
    "huge": _huge,
    "an init that is text": _text('{"init": "1"}'),
    "an init of many digits": _text('{"init": [99999999999999999999, 1]}'),
    "an init that is everybody": _text('{"init": [-1, 0]}'),
    "a maker that is one number": _text('{"maker": [1]}'),
    "a cgroup that is nothing": _text('{"cgroup": {}}'),
    "a cgroup elsewhere": _text(
        '{"cgroup": {"version_1": {"a": "/x/../y"}, "unified": null, "parents": [],'
        ' "may_lack": true}}'
    ),
    "hooks that are none": _text('{"poststop": [{"args": 1}]}'),
    "a zero byte": _text('{"bundle": "\\u0000"}'),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_state_is_told_and_no_matter_to_others_and_removed(
    bundle: Bundle, damage: str
) -> None:
    bundle.write("sleep 1000")
    assert bundle.oci("create", "--bundle", str(bundle.path), "one").returncode == 0
    pid = bundle.state()["pid"]
    folder = bundle.root / "two"
    folder.mkdir()
    DAMAGE[damage](folder / "state.json")
    listed = bundle.oci("list", "--format", "json")
    assert [(it["id"], it["pid"]) for it in json.loads(listed.stdout)] == [("one", pid)]
    assert listed.stderr.startswith("ringlet-oci: warning: the state of container two is damaged")
    assert listed.stderr.count("\n") == 1
    for words in (["state", "two"], ["kill", "two"], ["start", "two"], ["delete", "two"]):
        done = bundle.oci(*words)
        assert (done.returncode, done.stdout) == (1, ""), words
        assert "the state of container two is damaged" in done.stderr
        assert done.stderr.count("\n") == 1
    done = bundle.oci("delete", "--force", "two")
    assert (done.returncode, done.stderr) == (0, "")
    assert os.listdir(bundle.root) == ["one"]
    assert bundle.state()["status"] == "created"


@pytest.mark.parametrize("damage", ["", "[]", '{"init": 1, "cgroup": 2}'])
def test_what_a_damaged_container_has_is_found_by_its_configuration(
    bundle: Bundle, damage: str
) -> None:
    bundle.write("sleep 1000")
    assert bundle.oci("create", "--bundle", str(bundle.path), "one").returncode == 0
    pid = bundle.state()["pid"]
    (bundle.root / "one" / "state.json").write_text(damage)
    assert bundle.oci("delete", "--force", "one").returncode == 0
    assert not os.path.exists(f"/proc/{pid}/exe")
    assert bundle.left() == []


def test_a_process_of_the_hosts_in_its_cgroup_is_left_alone(bundle: Bundle) -> None:
    bundle.config["linux"]["namespaces"] = [
        one for one in bundle.config["linux"]["namespaces"] if one["type"] != "pid"
    ]
    bundle.write("sleep 1000")
    assert bundle.oci("create", "--bundle", str(bundle.path), "one").returncode == 0
    pid = bundle.state()["pid"]
    state = bundle.root / "one" / "state.json"
    written = state.read_text()
    state.write_text("")
    assert bundle.oci("delete", "--force", "one").returncode == 0
    assert os.path.exists(f"/proc/{pid}/exe")
    state.parent.mkdir()
    state.write_text(written)  # so that the fixture ends it


@pytest.mark.parametrize("deeper", ["", "/deeper"])
def test_a_cgroup_of_another_container_is_left_alone(bundle: Bundle, deeper: str) -> None:
    group = f"/ringlet-{os.urandom(4).hex()}"
    bundle.config["linux"]["cgroupsPath"] = group + deeper
    bundle.write("sleep 1000")
    assert bundle.oci("create", "--bundle", str(bundle.path), "one").returncode == 0
    folder = bundle.root / "two"
    folder.mkdir()
    bundle.config["linux"]["cgroupsPath"] = group
    (folder / "config.json").write_text(json.dumps(bundle.config))
    (folder / "state.json").write_text("")
    assert bundle.oci("delete", "--force", "two").returncode == 0
    assert bundle.state()["status"] == "created"


def test_a_state_of_another_users_is_refused(bundle: Bundle) -> None:
    bundle.write("true")
    assert bundle.oci("create", "--bundle", str(bundle.path), "one").returncode == 0
    folder = bundle.root / "two"
    marker = bundle.path / "marker"
    folder.mkdir()
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"touch {marker}"]}
    (folder / "state.json").write_text(json.dumps({"bundle": "/", "poststop": [hook]}))
    os.chown(folder, 65534, 65534)
    for words in (["state"], ["kill"], ["start"], ["delete"], ["delete", "--force"]):
        done = bundle.oci(*words, "two")
        assert done.returncode == 1
        assert done.stderr.startswith(f"ringlet-oci: {folder}: it belongs to another user (")
    listed = bundle.oci("list", "--format", "json")
    assert [one["id"] for one in json.loads(listed.stdout)] == ["one"]
    assert f"warning: {folder}: it belongs to another user" in listed.stderr
    assert not marker.exists()
    shutil.rmtree(folder)


@pytest.mark.parametrize(("mode", "owner"), [(0o777, 0), (0o755, 65534), (0o1777, 65534)])
def test_a_root_whose_folders_others_can_exchange_is_refused(
    bundle: Bundle, mode: int, owner: int
) -> None:
    bundle.write("true")
    bundle.root.mkdir(exist_ok=True)
    bundle.root.chmod(mode)
    os.chown(bundle.root, owner, -1)
    try:
        done = bundle.oci("create", "--bundle", str(bundle.path), "one")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"ringlet-oci: {bundle.root}: not this user's alone (")
        assert list(bundle.root.iterdir()) == []
    finally:
        bundle.root.chmod(0o755)
        os.chown(bundle.root, 0, -1)


@pytest.mark.parametrize("link", [False, True])
def test_a_root_that_others_can_put_another_in_place_of_is_refused(
    bundle: Bundle, tmp_path: Path, link: bool
) -> None:
    """What they put there would have hooks, which ringlet runs."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    bundle.root.mkdir(exist_ok=True)
    way = theirs / "state"
    if link:
        way.symlink_to(bundle.root)
    else:
        way.mkdir()
    os.chown(theirs, 65534, 65534)
    done = bundle.oci("--root", str(way), "delete", "--force", "one")
    assert done.returncode == 0  # it isn't there
    bundle.write("true")
    done = bundle.oci("--root", str(way), "create", "--bundle", str(bundle.path), "one")
    assert done.returncode == 1
    assert done.stderr.startswith(f"ringlet-oci: {way}: others can write here (")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.just("/a"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["version_1", "unified", "parents", "path"]), inner)
    ),
    max_leaves=6,
)
KEYS = ["bundle", "init", "maker", "cgroup", "planned", "started", "poststop", "created", "owner"]


@given(data=st.dictionaries(st.sampled_from(KEYS), VALUES))
def test_of_any_state_what_is_read_can_be_used(tmp_path: Path, data: dict[str, object]) -> None:
    store = Store(str(tmp_path))
    os.makedirs(tmp_path / "one", exist_ok=True)
    (tmp_path / "one" / "state.json").write_text(json.dumps(data))
    try:
        container = store.look("one")
    except DamageError:
        with store.open("one", mend=True) as container:
            assert container.is_damaged
    for process in (container.init, container.maker):
        assert process is None or isinstance(process.alive, bool)
