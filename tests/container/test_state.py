import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringlet.container import state
from ringlet.container.state import HostProcess, StateError, Store, check_id
from ringlet.host.process_stat import read_stat

from .cgroups.inside import eventually


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "root"))


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("id", ["a", "web-1", "A_b+c.d", "0" * 255, "...", ".a"])
def test_an_id_that_others_take_is_taken(id: str) -> None:
    check_id(id)


@pytest.mark.parametrize("id", ["", ".", "..", "a/b", "../a", "a b", "a\n", "ä", "\0", "0" * 256])
def test_an_id_that_is_a_path_or_unclean_is_refused(store: Store, id: str) -> None:
    for operation in (check_id, store.create, store.open, store.look):
        with pytest.raises(StateError, match="is no container id"):
            operation(id)


@given(st.text())
def test_an_id_that_is_taken_names_an_entry_of_the_root(id: str) -> None:
    try:
        check_id(id)
    except StateError:
        return
    assert os.path.normpath(f"/root/{id}") == f"/root/{id}"
    assert os.path.dirname(os.path.normpath(f"/root/{id}")) == "/root"


def test_what_is_saved_is_read_by_others(store: Store) -> None:
    with store.create("one") as container:
        container.data = {"a": [1, None, "é\ud800"]}
        container.save()
        assert store.look("one").data == container.data
    with store.open("one") as again:
        assert again.data == {"a": [1, None, "é\ud800"]}
    assert list(store.ids()) == ["one"]


def test_the_folder_is_its_owners_alone(store: Store) -> None:
    with store.create("one") as container:
        assert os.stat(container.folder).st_mode & 0o777 == 0o700
        assert os.stat(store.root).st_mode & 0o777 == 0o700


def test_a_second_container_of_one_id_is_refused(store: Store) -> None:
    with store.create("one"), pytest.raises(StateError, match="container one exists already"):
        store.create("one")


def test_of_many_that_create_one_id_one_succeeds(store: Store) -> None:
    def create(_: int) -> bool:
        try:
            store.create("one").close()
        except StateError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(create, range(64))) == 1


def test_what_isnt_there_does_not_exist(store: Store) -> None:
    for operation in (store.open, store.look):
        with pytest.raises(StateError, match="container one does not exist"):
            operation("one")
    assert list(store.ids()) == []


def test_a_removed_container_is_gone_and_its_id_free(store: Store) -> None:
    with store.create("one") as container:
        container.save()
        Path(container.folder, "other").touch()
        container.remove()
        assert not os.path.exists(container.folder)
    store.create("one").close()


def test_who_waits_for_a_container_that_is_removed_finds_none(store: Store) -> None:
    first = store.create("one")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(store.open, "one")
        assert not waiting.done()
        first.remove()
        first.close()
        with pytest.raises(StateError, match="does not exist"):
            waiting.result(timeout=60)


def test_a_container_is_one_ringlets_at_a_time(store: Store) -> None:
    store.create("one").close()

    def count(_: int) -> None:
        with store.open("one") as container:
            container.data["n"] = container.data.get("n", 0) + 1
            container.save()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(200)))
    assert store.look("one").data == {"n": 200}


def test_a_lock_that_is_never_given_back_is_told(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "LOCK_SECONDS", 0.01)
    with store.create("one"), pytest.raises(StateError, match="held by another ringlet"):
        store.open("one")


def test_a_killed_ringlet_leaves_no_lock_and_a_whole_state(store: Store) -> None:
    program = (
        "import sys; from ringlet.container.state import Store\n"
        "c = Store(sys.argv[1]).create('one'); c.data = {'n': 'x' * 5000}; c.save()\n"
        "print(flush=True)\n"
        "while True: c.save()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, store.root], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        for _ in range(200):
            assert store.look("one").data == {"n": "x" * 5000}
        process.kill()
    with store.open("one") as container:
        assert container.data == {"n": "x" * 5000}
        container.remove()


def test_one_killed_before_its_state_was_written_can_be_removed(store: Store) -> None:
    os.makedirs(os.path.join(store.root, "one"))
    with store.open("one") as container:
        assert container.data == {}
        assert container.init is None
        container.remove()
    assert list(store.ids()) == []


def test_a_link_in_the_place_of_a_container_is_none(store: Store, tmp_path: Path) -> None:
    os.makedirs(store.root)
    os.symlink(tmp_path, os.path.join(store.root, "one"))
    with pytest.raises(StateError, match="does not exist"):
        store.open("one")


def test_a_process_is_alive_until_it_ends(sleeper: subprocess.Popen[bytes]) -> None:
    process = HostProcess(sleeper.pid)
    assert process.alive
    sleeper.send_signal(signal.SIGSTOP)
    assert process.alive
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert not process.alive  # a zombie
    sleeper.wait()
    assert not process.alive
    assert not HostProcess(sleeper.pid).alive


# The first thread ends, and another one lives on: /proc/PID/stat says Z of the process.
WITHOUT_ITS_FIRST_THREAD = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=[1000]).start()
print(flush=True)
ctypes.CDLL(None).syscall(60, 0)
"""


def test_a_process_whose_first_thread_has_ended_is_alive_and_can_be_killed() -> None:
    words = [sys.executable, "-c", WITHOUT_ITS_FIRST_THREAD]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as other:
        process = HostProcess(other.pid)
        try:
            eventually(lambda: read_stat(other.pid)[0] == b"Z")
            assert process.alive
            state.send(process, signal.SIGKILL)
            state.await_end(process, "one")
            assert not process.alive  # a zombie: nobody has waited for it
            assert other.poll() == -signal.SIGKILL
        finally:
            other.kill()


def test_another_process_of_the_same_id_is_another(sleeper: subprocess.Popen[bytes]) -> None:
    process = HostProcess(sleeper.pid)
    assert process == HostProcess(process.pid, process.start)
    assert not HostProcess(process.pid, process.start - 1).alive


def test_the_name_of_a_process_misleads_nobody(tmp_path: Path) -> None:
    program = tmp_path / "a) Z 1 (b"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "1000"]) as process:
        assert HostProcess(process.pid).alive
        process.kill()
