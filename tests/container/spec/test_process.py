"""`process` and `hooks`: ranges, names and what goes together."""

import pytest

from ringlet.container.spec.config_json import check

from ..configs import LEAVE_OUT, changed, refusal, refused_at

ID = 2**32 - 2


@pytest.mark.parametrize(
    ("path", "low", "high"),
    [
        ("process.user.umask", 0, 0o777),
        ("process.consoleSize.height", 0, 65535),
        ("process.oomScoreAdj", -1000, 1000),
        ("process.scheduler.nice", -20, 19),
        ("process.ioPriority.priority", 0, 7),
        ("process.rlimits[0].hard", 512, 2**64 - 1),
        ("process.rlimits[0].soft", 0, 1024),
        ("hooks.prestart[0].timeout", 1, 2147483),
    ],
)
def test_numbers_have_a_range(path: str, low: int, high: int) -> None:
    for inside in (low, high):
        assert check(changed((path, inside)))
    for outside in (low - 1, high + 1):
        refusal((path, outside))


@pytest.mark.parametrize("key", ["uid", "gid"])
def test_ids_have_32_bits_and_the_last_is_none(key: str) -> None:
    everything = [{"containerID": 0, "hostID": 0, "size": ID + 1}]
    mapped = [("linux.uidMappings", everything), ("linux.gidMappings", everything)]
    assert check(changed(*mapped, (f"process.user.{key}", ID)))
    for outside in (-1, ID + 1):
        assert refused_at(f"process.user.{key}", outside) == f"{outside} is out of range"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("process.cwd", "bin"),
        ("process.cwd", ""),
        ("process.args", []),
        ("process.args[0]", "a\0"),
        ("process.env[0]", "PATH"),
        ("process.env[0]", "=1"),
        ("process.env[0]", "A=\ud800"),
        ("process.rlimits[0].type", "RLIMIT_FOO"),
        ("process.rlimits[0].type", "nofile"),
        ("process.scheduler.policy", "SCHED_FAIR"),
        ("process.scheduler.flags[0]", "SCHED_FLAG_X"),
        ("process.ioPriority.class", "IOPRIO_CLASS_NONE"),
        ("process.execCPUAffinity.final", "a"),
        ("process.user.additionalGids[0]", -1),
        ("hooks.createContainer[0].path", "bin/hook"),
        ("hooks.createContainer[0].env[0]", "A"),
    ],
)
def test_values_that_can_not_be(path: str, value: object) -> None:
    assert refused_at(path, value)


def test_a_limit_is_there_once() -> None:
    again = {"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}
    where = "process.rlimits[1].type"
    assert refused_at("process.rlimits[1]", again, where) == "RLIMIT_NOFILE is there twice"


def test_the_size_of_no_terminal_is_not_looked_at() -> None:
    for terminal in (False, None, LEAVE_OUT):
        size = ("process.consoleSize", "huge")
        config = check(changed(("process.terminal", terminal), size))
        assert "consoleSize" not in config["process"]


def test_capabilities_of_another_kernel_are_not_refused() -> None:
    config = check(changed(("process.capabilities.bounding", ["CAP_NEW"])))
    assert config["process"]["capabilities"]["bounding"] == ["CAP_NEW"]


def test_the_user_is_root_if_none_is_said() -> None:
    config = check(changed(("process.user", LEAVE_OUT)))
    assert config["process"]["user"] == {"uid": 0, "gid": 0}


@pytest.mark.parametrize(
    "scheduler",
    [
        {"policy": "SCHED_FIFO", "priority": 99},
        {"policy": "SCHED_RR", "priority": 1},
        {"policy": "SCHED_BATCH", "nice": 19},
        {"policy": "SCHED_DEADLINE", "runtime": 1024, "deadline": 1025, "period": 1026},
        {"policy": "SCHED_DEADLINE", "runtime": 2048, "deadline": 2048},
    ],
)
def test_schedulers_with_what_they_need(scheduler: object) -> None:
    assert check(changed(("process.scheduler", scheduler), ("hooks.startContainer", [])))


def test_a_deadline_and_hooks_at_the_start_go_together_only_if_it_isnt_inherited() -> None:
    scheduler = {"policy": "SCHED_DEADLINE", "runtime": 2048, "deadline": 4096}
    assert "can't start the startContainer hooks" in refused_at("process.scheduler", scheduler)
    assert check(changed(("process.scheduler", scheduler), ("hooks.startContainer", [])))
    reset = scheduler | {"flags": ["SCHED_FLAG_RESET_ON_FORK"]}
    assert check(changed(("process.scheduler", reset)))


@pytest.mark.parametrize(
    ("scheduler", "where"),
    [
        ({"policy": "SCHED_FIFO"}, ".priority"),
        ({"policy": "SCHED_RR", "priority": 100}, ".priority"),
        ({"policy": "SCHED_OTHER", "priority": 1}, ".priority"),
        ({"policy": "SCHED_OTHER", "runtime": 1}, ""),
        ({"policy": "SCHED_DEADLINE"}, ""),
        ({"policy": "SCHED_DEADLINE", "runtime": 3000, "deadline": 2000}, ""),
        ({"policy": "SCHED_DEADLINE", "runtime": 1024, "deadline": 3000, "period": 2000}, ""),
        ({"policy": "SCHED_DEADLINE", "runtime": 1023, "deadline": 3000}, ""),
        ({"policy": "SCHED_DEADLINE", "runtime": 1024, "deadline": 1 << 63}, ""),
        ({"policy": "SCHED_DEADLINE", "runtime": 1024, "deadline": 2000, "period": 1 << 63}, ""),
    ],
)
def test_schedulers_without(scheduler: object, where: str) -> None:
    assert refused_at("process.scheduler", scheduler, f"process.scheduler{where}")
