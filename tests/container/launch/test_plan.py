"""Plans, as text: what each field becomes is tested where it is carried out, in test_launch.py."""

import json
import os
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.container.launch.description import Creation
from ringlet.container.launch.plan import Descriptors, Plan, plan_creation
from ringlet.container.spec.config_json import SpecError
from ringlet.container.spec.default import default

WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(WORDS, st.lists(WORDS))
def test_a_word_is_one_word_of_one_line_whatever_is_in_it(what: str, words: list[str]) -> None:
    plan = Plan()
    plan.add("step", what, *words)
    text, size = plan.encode()
    assert len(text) == size
    assert text.count(b"\n") == 1
    assert all(0x20 <= byte < 0x7F for byte in text[:-1])
    step, *rest = text[:-1].split(b" ")
    assert step == b"step"
    assert [unquote_to_bytes(word) for word in rest] == [os.fsencode(w) for w in (what, *words)]


def test_bytes_that_are_no_text_come_through() -> None:
    plan = Plan()
    plan.add("step", os.fsdecode(b"/\xff%"))
    assert plan.encode()[0] == b"step /%FF%25\n"


def test_data_follows_the_text() -> None:
    plan = Plan()
    plan.add("step", "", plan.attach(b"one\n"), plan.attach(b"two"))
    text, size = plan.encode()
    assert text[size:] == b"one\ntwo"
    assert text[:size] == b"step  0 4\n"


def test_a_descriptor_has_one_number_after_those_that_are_preserved() -> None:
    descriptors = Descriptors(2)
    assert [descriptors.give(fd) for fd in (40, 9, 40)] == [5, 6, 5]


def steps(config: Any, **more: Any) -> list[tuple[str, str]]:
    """The steps of a creation, with what each is about."""
    sockets: dict[str, Any] = {"start": (10, 11), "console": None, "listener": None}
    sockets |= {name: more.pop(name) for name in sockets.keys() & more.keys()}
    creation = Creation(config, "/bundle", "/one", cgroup=None, **more)
    text, size = plan_creation(creation, Descriptors(0), **sockets).encode()
    lines = [line.split(" ") for line in text[:size].decode().splitlines()]
    return [(line[0], line[1] if len(line) > 1 else "") for line in lines]


@pytest.fixture
def config() -> Any:
    config = json.loads(json.dumps(default()))
    config["process"].update(terminal=False, noNewPrivileges=True)
    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
    return config


# Each of these, and that it comes before the next one, is a defence.
ORDER = [
    "fds",  # nothing of ringlet's is open in what follows
    "bind",  # on the host, with its rights
    "clone",
    "await",  # ids are mapped
    "propagation",  # before any mount
    "null",  # of the host, as a copy that shares nothing
    "root",
    "filesystem",
    "device",
    "pivot",
    "mask",
    "readonly",  # copies what is masked in it
    "close",  # of the host nothing is left before any path of the image's is looked at
    "bounding",  # takes a capability that `user` may lose
    "user",
    "capabilities",  # before others can be in there with it
    "no_new_privs",
    "hidden",
    "command",  # with the command's rights
    "seccomp",  # holds for the steps after it, too
    "ready",  # and from here on others may look into it
    "wait",
    "rlimit",  # after all that they could hinder
    "exec",
]


def test_the_order_of_the_steps_is_the_security(config: Any) -> None:
    names = [step for step, _ in steps(config)]
    first = [names.index(step) for step in ORDER]
    assert first == sorted(first)
    assert names[-1] == "exec"


def test_a_filter_that_forbids_a_step_comes_after_it(config: Any) -> None:
    rule = {"names": ["prlimit64"], "action": "SCMP_ACT_ERRNO"}
    config["linux"]["seccomp"]["syscalls"] = [rule]
    names = [step for step, _ in steps(config)]
    assert names[-5:] == ["rlimit", "seccomp", "ready", "wait", "exec"]


@pytest.mark.parametrize("name", ["read", "write", "close", "execve"])
def test_a_filter_under_which_no_command_starts_is_refused(config: Any, name: str) -> None:
    rule = {"names": [name], "action": "SCMP_ACT_ERRNO"}
    config["linux"]["seccomp"]["syscalls"] = [rule]
    with pytest.raises(SpecError, match="forbids read, write, close or execve"):
        steps(config)


def test_an_agent_may_be_asked_about_the_command(config: Any) -> None:
    rule = {"names": ["execve"], "action": "SCMP_ACT_NOTIFY"}
    config["linux"]["seccomp"].update(syscalls=[rule], listenerPath="/run/agent")
    assert ("seccomp", "") in steps(config, listener=12)


def test_of_a_user_namespace_the_trees_are_a_copys(config: Any) -> None:
    config["linux"]["namespaces"].append({"type": "user"})
    mapping = [{"containerID": 0, "hostID": 1000, "size": 10}]
    config["linux"] |= {"uidMappings": mapping, "gidMappings": mapping}
    names = [step for step, _ in steps(config)]
    found = [names.index(step) for step in ("bind", "park", "clone", "await", "take", "root")]
    assert found == sorted(found)


def test_without_no_new_privs_the_filter_is_set_while_it_may_be(config: Any) -> None:
    config["process"]["noNewPrivileges"] = False
    names = [step for step, _ in steps(config)]
    assert "no_new_privs" not in names
    end = names.index("seccomp")
    assert names[end - 1 : end + 3] == ["all_capabilities", "seccomp", "capabilities", "ready"]


def test_no_copy_of_the_hosts_mounts_shares_what_is_mounted_in_it(config: Any) -> None:
    config["mounts"].append({"destination": "/a", "source": "/a", "options": ["bind"]})
    config["mounts"].append({"destination": "/b", "source": "/b", "options": ["rbind", "rshared"]})
    found = steps(config)
    binds = [number for number, (step, _) in enumerate(found) if step == "bind"]
    after = {found[number][1]: found[number + 1][0] for number in binds}
    assert after["/"] == after["/a"] == "attributes"
    assert after["/b"] == "attributes"  # it shares with itself alone,
    config["linux"]["rootfsPropagation"] = "shared"  # unless its root does, too
    found = steps(config)
    assert found[found.index(("bind", "/b")) + 1] == ("peer", "/b")
    config["linux"]["namespaces"].append({"type": "user"})
    assert ("peer", "/b") not in steps(config)


def test_a_container_that_names_no_capabilities_has_none(config: Any) -> None:
    del config["process"]["capabilities"]
    creation = Creation(config, "/bundle", "/one", cgroup=None)
    plan = plan_creation(creation, Descriptors(0), start=(10, 11), console=None, listener=None)
    text, _ = plan.encode()
    assert b"\nbounding  0\n" in text
    assert b"\ncapabilities  0 0 0 0\n" in text
