"""config.json as a whole: what is accepted, what is refused and how it is said."""

import json
import os
import random
import string
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.container.spec.config_json import (
    MAX_BYTES,
    SpecError,
    check,
    check_process,
    check_resources,
    load,
    process_of,
)
from ringlet.container.spec.default import default

from ..configs import LEAVE_OUT, changed, full, parts, refusal, refused_at

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["/", "1.2.0", "user", "A=1", "\0", "\ud800", 2**32, -1]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def places(value: object, path: str = "") -> Iterator[str]:
    """The path of each value below `value`."""
    if isinstance(value, dict):
        for key, one in value.items():
            if "." not in key:  # but for the annotations' and other keys that have a dot
                yield (here := f"{path}.{key}" if path else key)
                yield from places(one, here)
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield (here := f"{path}[{number}]")
            yield from places(one, here)


PLACES = sorted(set(places(full())))


def at(value: Any, path: str) -> Any:
    for part in parts(path):
        value = value[part]
    return value


def error_of(checks: Callable[[Any], object], value: object) -> SpecError | None:
    """How it is refused; None if it isn't. Anything else that is raised goes on."""
    try:
        checks(value)
    except SpecError as error:
        return error
    return None


def test_every_field_is_kept() -> None:
    assert check(full()) == full()


def test_what_is_given_is_left_as_it_is() -> None:
    given = changed(("process.user", None), ("unknown", 1))
    before = deepcopy(given)
    check(given)
    assert given == before


@pytest.mark.parametrize("rootless", [False, True])
def test_the_default_is_accepted(rootless: bool) -> None:
    assert check(default(rootless=rootless)) == default(rootless=rootless)


def test_the_least_is_a_version_and_a_root() -> None:
    least = {"ociVersion": "1.0.0", "root": {"path": "rootfs"}}
    assert check(least) == least


@pytest.mark.parametrize("path", ["", "process", "root", "linux", "linux.resources.memory"])
def test_unknown_fields_are_left_out(path: str) -> None:
    at_it = f"{path}.newField" if path else "newField"
    assert check(changed((at_it, {"any": ["thing"]}))) == full()


@pytest.mark.parametrize("system", ["windows", "solaris", "zos", "freebsd"])
def test_what_is_for_other_systems_is_left_out(system: str) -> None:
    assert check(changed((system, {"network": 5}))) == full()


def test_null_is_no_value() -> None:
    for path in PLACES:
        if path.endswith("]") or path in ("linux", "linux.namespaces"):
            continue  # in an array it is none, and these two are what other fields have need of
        without, with_null = changed((path, LEAVE_OUT)), changed((path, None))
        error = error_of(check, without)
        if error is None:
            assert check(with_null) == check(without), path
        else:
            with pytest.raises(SpecError) as caught:
                check(with_null)
            assert caught.value.message == error.message


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("ociVersion", "it is missing"),
        ("root", "it is missing"),
        ("root.path", "it is missing"),
        ("process.cwd", "it is missing"),
        ("process.args", "it is missing"),
        ("process.user.uid", "it is missing"),
        ("process.user.gid", "it is missing"),
        ("process.consoleSize.width", "it is missing"),
        ("process.rlimits[1].soft", "it is missing"),
        ("process.scheduler.policy", "it is missing"),
        ("process.ioPriority.class", "it is missing"),
        ("hooks.poststop[0].path", "it is missing"),
        ("mounts[0].destination", "it is missing"),
        ("linux.namespaces[0].type", "it is missing"),
        ("linux.uidMappings[0].size", "it is missing"),
        ("linux.devices[0].major", "it is missing"),
        ("linux.devices[1].path", "it is missing"),
        ("linux.resources.devices[0].allow", "it is missing"),
        ("linux.resources.blockIO.throttleReadBpsDevice[0].rate", "it is missing"),
        ("linux.resources.hugepageLimits[0].pageSize", "it is missing"),
        ("linux.resources.network.priorities[0].name", "it is missing"),
        ("linux.seccomp.defaultAction", "it is missing"),
        ("linux.seccomp.syscalls[0].names", "it is missing"),
        ("linux.seccomp.syscalls[1].args[0].op", "it is missing"),
        ("linux.personality.domain", "it is missing"),
        ("linux.memoryPolicy.mode", "it is missing"),
    ],
)
def test_what_is_required_has_to_be_there(path: str, why: str) -> None:
    assert refused_at(path, LEAVE_OUT) == why


@pytest.mark.parametrize("path", PLACES)
def test_each_field_has_a_type(path: str) -> None:
    """No field takes what is neither text nor number nor object nor array nor boolean."""
    message = refused_at(path, 0.5)
    assert "0.5" in message or path.startswith("linux.personality.flags"), message


@pytest.mark.parametrize(
    "version", ["1.0.0", "1.2.0", "1.0.2-dev", "1.1.0+dev", "1.2.1-rc.1+a.01", "1.99.0", "1.0.0--"]
)
def test_versions_of_this_major_are_accepted(version: str) -> None:
    assert check(changed(("ociVersion", version)))["ociVersion"] == version


@pytest.mark.parametrize(
    "version",
    ["", "1", "1.0", "1.0.0.0", "01.0.0", "1.0.0-", "1.0.0+", "1.0.0-01", "1.0.0-a..b", "v1.0.0",
     "1.0.x", "1.0.0-ä", "1.0.0 ", "1.0.\u0662", "0.5.0", "2.0.0"],
)  # fmt: skip
def test_other_versions_are_refused(version: str) -> None:
    assert "version" in refused_at("ociVersion", version)


def test_a_machine_of_its_own_is_refused_and_not_left_out() -> None:
    assert "virtual machines" in refused_at("vm", {"kernel": {"path": "/vmlinuz"}})


@pytest.mark.parametrize("key", ["hostname", "domainname"])
def test_a_host_name_has_a_namespace_and_an_end(key: str) -> None:
    namespaces = [one for one in full()["linux"]["namespaces"] if one["type"] != "uts"]
    other = "domainname" if key == "hostname" else "hostname"
    changes = [("linux.namespaces", namespaces), (other, LEAVE_OUT)]
    assert refusal(*changes).startswith(f"config.json: {key}: it would be the host's")
    for ours in ("/proc/self/ns/uts", f"/proc/{os.getpid()}/ns/uts"):
        changes[0] = ("linux.namespaces", [*namespaces, {"type": "uts", "path": ours}])
        assert refusal(*changes).startswith(f"config.json: {key}: it would be the host's")
    another = "/proc/self/ns/net"  # it is no UTS namespace, which the step that joins it reports
    joined = [*namespaces, {"type": "uts", "path": another}]
    assert check(changed(("linux.namespaces", joined)))
    assert check(changed((key, "ä" * 32)))
    assert "too long" in refused_at(key, "ä" * 33)
    assert refused_at(key, "") == "it is empty"


@pytest.mark.parametrize("destination", ["proc", "/proc/", "//proc"])
def test_a_destination_begins_at_the_root_and_ends_without_a_slash(destination: str) -> None:
    config = check(changed(("mounts[0].destination", destination)))
    assert config["mounts"][0]["destination"] == "/proc"


@pytest.mark.parametrize(
    ("mount", "where"),
    [
        ({"destination": ""}, ".destination"),
        ({"destination": "/a"}, ".type"),
        ({"destination": "/a", "type": "bind", "source": "/b"}, ".type"),
        ({"destination": "/a", "options": ["bind"]}, ".source"),
        ({"destination": "/a", "type": "tmpfs", "uidMappings": []}, ""),
        ({"destination": "/a", "type": "tmpfs", "options": ["a\0"]}, ".options[0]"),
    ],
)
def test_mounts_that_can_not_be(mount: dict[str, object], where: str) -> None:
    refused_at("mounts[0]", mount, f"mounts[0]{where}")


def test_an_id_mapped_mount_has_mappings_or_the_container_has() -> None:
    mount = {"destination": "/a", "source": "/b", "options": ["bind", "idmap"]}
    assert check(changed(("mounts[0]", mount)))
    config: dict[str, Any] = {"ociVersion": "1.2.0", "root": {"path": "r"}, "mounts": [mount]}
    with pytest.raises(SpecError, match=r"mounts\[0\].options: idmap has no mapping"):
        check(config)


@pytest.mark.parametrize("key", ["uid", "gid", "additionalGids"])
def test_the_user_is_in_the_containers_user_namespace(key: str) -> None:
    beyond = 65536
    change = (f"process.user.{key}", [0, beyond] if key == "additionalGids" else beyond)
    assert refusal(change).startswith(f"config.json: process.user.{key}: 65536 is not mapped")
    namespaces = [{"type": "uts"}, {"type": "mount"}]
    namespaces.append({"type": "user", "path": "/proc/1/ns/user"})
    more = [("linux.namespaces", namespaces), ("linux.sysctl", {}), ("linux.timeOffsets", {})]
    more.append(("linux.netDevices", {}))
    assert check(changed(change, *more))


def test_annotations_are_strings_with_keys() -> None:
    assert refused_at("annotations", {"": "a"}, "annotations['']") == "it is empty"
    assert refused_at("annotations", {"a": 1}, "annotations.a") == "1 is not a string"
    assert refused_at("annotations", {"a.b\n": 1}, r"annotations['a.b\n']")


def test_a_container_without_a_process_can_not_be_started() -> None:
    config = check(changed(("process", LEAVE_OUT)))
    with pytest.raises(SpecError, match=r"process: it is missing"):
        process_of(config)
    assert process_of(check(full())) == full()["process"]


def test_parts_of_it_are_named_as_such() -> None:
    process = full()["process"]
    assert check_process(process) == process
    with pytest.raises(SpecError, match=r"(?m)^process.cwd: 'bin' is not an absolute path$"):
        check_process({**process, "cwd": "bin"})
    limits = full()["linux"]["resources"]
    assert check_resources(limits) == limits
    with pytest.raises(SpecError, match=r"(?m)^resources.pids.limit: '5' is not a whole number$"):
        check_resources({"pids": {"limit": "5"}})
    with pytest.raises(SpecError, match=r"(?m)^resources: an array is not an object$"):
        check_resources([])


@given(JSON)
def test_any_json_is_a_configuration_or_refused(value: object) -> None:
    for checks in (check, check_process, check_resources):
        if (error := error_of(checks, value)) is not None:
            assert len(error.message) < 300
            assert error.message.isprintable()
            assert error.hint


@given(st.lists(st.tuples(st.sampled_from(PLACES), JSON), min_size=1, max_size=3))
def test_what_is_accepted_is_accepted_again(changes: list[tuple[str, object]]) -> None:
    config = full()
    for path, value in changes:
        *above, last = parts(path)
        try:
            holder = config
            for part in above:
                holder = holder[part]  # type: ignore[index]
            holder[last] = value  # type: ignore[index]
        except (TypeError, KeyError, IndexError):
            continue  # the change before has taken it away
    error = error_of(check, config)
    if error is None:
        known = check(config)
        assert check(known) == known
        json.dumps(known, allow_nan=False).encode()
    else:
        assert error.message.startswith("config.json: ")
        assert error.message.isprintable()


@given(st.sampled_from(PLACES), st.sampled_from(PLACES))
def test_values_in_the_wrong_place_are_refused_or_do_no_harm(here: str, there: str) -> None:
    error = error_of(check, changed((here, at(full(), there))))
    assert error is None or error.message.startswith("config.json: ")


def write(folder: Path, text: bytes | str) -> str:
    (folder / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(folder)


def test_a_bundle_is_read(tmp_path: Path) -> None:
    assert load(write(tmp_path, json.dumps(full()))) == full()


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[1]", b"nul", b"\xff\xfe", b"{}x", b"NaN", b"9" * 5000, b"[" * 200_000,
     b'"\\ud800"'],
)  # fmt: skip
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(SpecError, match=r"config\.json"):
        load(write(tmp_path, text))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="No such file"):
        load(str(tmp_path))
    os.mkdir(tmp_path / "config.json")
    with pytest.raises(SpecError, match="Is a directory"):
        load(str(tmp_path))


def test_a_file_without_end_is_refused(tmp_path: Path) -> None:
    write(tmp_path, " " * (MAX_BYTES + 1))
    with pytest.raises(SpecError, match=f"more than {MAX_BYTES} bytes"):
        load(str(tmp_path))
    os.unlink(tmp_path / "config.json")
    os.symlink("/dev/zero", tmp_path / "config.json")
    with pytest.raises(SpecError, match="isn't a regular file"):
        load(str(tmp_path))


def test_a_file_with_broken_bytes_is_json_or_refused(tmp_path: Path) -> None:
    chance = random.Random(1)
    text = json.dumps(full())
    for _ in range(500):
        at = chance.randrange(len(text))
        broken = text[:at] + chance.choice(string.printable) + text[at + chance.randrange(3) :]
        error = error_of(load, write(tmp_path, broken))
        assert error is None or error.hint
