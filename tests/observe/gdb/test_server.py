"""The GDB server and clients that aren't GDB: alone, second, gone, wrong."""

import os
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ringlet import ConfigError, debug
from ringlet.observe.debug.debugger import Debugger
from ringlet.observe.gdb.packets import MAX_PACKET, Signal
from ringlet.observe.gdb.server import GdbServer
from ringlet.observe.gdb.target import REGISTERS

from ...machine_code import SPIN, exit_with, machine
from ...until import until
from ..gdb_client import Client, packet

pytestmark = pytest.mark.needs_kvm

CODE = 0x7C00
NOPS = b"\x89\xc0" * 8 + SPIN
REGISTER_BYTES = sum(register.size for register in REGISTERS)


@contextmanager
def served(code: bytes = NOPS, where: str = "0") -> Iterator[tuple[Debugger, GdbServer]]:
    with machine(code) as made, debug(made) as debugger, GdbServer(debugger, where) as server:
        made.start()
        yield debugger, server


@pytest.fixture
def client() -> Iterator[Client]:
    with served() as (_, server), Client(server.place) as made:
        yield made


def test_a_client_finds_the_guest_at_its_first_instruction(client: Client) -> None:
    assert client.ask(b"?") == b"T05thread:1;"
    assert client.ask(b"qC") == b"QC1"
    assert client.ask(b"qfThreadInfo") == b"m1"
    assert client.ask(b"qsThreadInfo") == b"l"
    assert client.ask(b"qAttached") == b"1"
    assert client.ask(b"m7c00,2") == b"89c0"


def test_each_packet_is_acknowledged_until_both_agree_otherwise(client: Client) -> None:
    client.send(packet(b"qC"))
    assert client.item() is Signal.ACK
    assert client.item() == b"QC1"
    client.send(b"-")
    assert client.item() == b"QC1", "once more"
    client.send(b"$qC#00")
    assert client.item() is Signal.NACK
    assert client.ask(b"QStartNoAckMode") == b"OK"
    client.send(b"+" + packet(b"qC"))
    assert client.item() == b"QC1"


def test_a_step_and_a_breakpoint(client: Client) -> None:
    assert client.ask(b"s") == b"T05thread:1;"
    assert client.ask(b"Z0,7c08,1") == b"OK"
    assert client.ask(b"vCont;c") == b"T05thread:1;swbreak:;"
    assert client.ask(b"z0,7c08,1") == b"OK"
    assert client.ask(b"Z1,7c0a,1") == b"OK"
    assert client.ask(b"c") == b"T05thread:1;hwbreak:;"
    assert client.ask(b"vCont;s:1") == b"T05thread:1;"
    client.send(packet(b"c"))
    client.send(b"\x03")
    assert client.reply() == b"T02thread:1;"


def test_registers_go_out_and_come_back(client: Client) -> None:
    values = client.ask(b"g")
    # Runs are shortened, which GDB expands; a register alone has none.
    assert client.ask(b"p10") == b"007c000000000000"
    assert client.ask(b"P0=2a00000000000000") == b"OK"
    assert client.ask(b"p0") == b"2a00000000000000"
    assert client.ask(b"G" + b"00" * REGISTER_BYTES) in (b"OK", b"E01")
    assert client.ask(b"G00") == b"E16"
    assert client.ask(b"p%x" % len(REGISTERS)) == b"E16"
    assert client.ask(b"P0=2a") == b"E16"
    assert values


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (b"", b""),
        (b"!", b""),
        (b"vMustReplyEmpty", b""),
        (b"qXfer:memory-map:read::0,100", b""),
        (b"qXfer:features:read:target.xml:ffffff,100", b"l"),
        (b"qXfer:features:read:target.xml:zz,100", b"E16"),
        (b"m", b"E16"),
        (b"m1", b"E16"),
        (b"m-1,4", b"E16"),
        (b"mffffffffffffffff,4", b"E0e"),
        (b"mfffffffffffffffffffffffffff,4", b"E0e"),
        (b"M7c00,2:00", b"E16"),
        (b"M7c00,1:zz", b"E16"),
        (b"X7c00,0:", b"OK"),
        (b"Mfee00000,1:00", b"E01"),
        (b"Z0,fee00000,1", b"E01"),
        (b"Z3,7c00,1", b""),
        (b"Z9,7c00,1", b""),
        (b"Z2,7c00,ffffffffffff", b"E01"),
        (b"Z0", b"E16"),
        (b"Hg9", b"E02"),
        (b"Hg0", b"OK"),
        (b"T9", b"E02"),
        (b"T1", b"OK"),
        (b"vCont;x", b"E16"),
        (b"vCont;s:77", b"E01"),
        (b"vCont?", b"vCont;c;C;s;S"),
        (b"qRcmd,zz", b"E16"),
        (b"p\xff", b"E16"),
    ],
)
def test_each_packet_has_an_answer(client: Client, asked: bytes, answer: bytes) -> None:
    assert client.ask(asked) == answer
    assert client.ask(b"qC") == b"QC1"


def test_a_packet_that_is_too_long_is_refused(client: Client) -> None:
    client.send(packet(b"M7c00,ffff:" + b"0" * 2 * MAX_PACKET))
    assert client.item() is Signal.NACK
    assert client.ask(b"qC") == b"QC1"


def test_a_second_client_is_refused_and_the_first_goes_on() -> None:
    told: list[str] = []
    with (
        machine(NOPS) as made,
        debug(made) as debugger,
        GdbServer(debugger, "0", told.append) as server,
        Client(server.place) as first,
    ):
        made.start()
        assert first.ask(b"qC") == b"QC1"
        with Client(server.place) as second:
            assert second.has_ended
        assert first.ask(b"qC") == b"QC1"
    assert told == ["a second GDB client was refused"]


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Lets this process open no further descriptor."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.dup(2)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken[0] + 32, limits[1]))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.dup(2))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for descriptor in taken:
            os.close(descriptor)


def test_without_descriptors_a_client_waits_and_the_server_doesnt_spin() -> None:
    with served() as (_, server), socket.socket() as waiting:
        with no_descriptors():
            began = time.process_time()
            waiting.connect(("127.0.0.1", int(server.place[1:])))
            time.sleep(0.5)
            assert time.process_time() - began < 0.25
        waiting.settimeout(60)
        waiting.sendall(packet(b"qC"))
        assert waiting.recv(1) == b"+"


def test_without_descriptors_the_first_client_stays() -> None:
    with served() as (_, server), Client(server.place) as first, socket.socket() as second:
        assert first.ask(b"qC") == b"QC1"
        with no_descriptors():
            second.connect(("127.0.0.1", int(server.place[1:])))
            time.sleep(0.3)
            assert first.ask(b"qC") == b"QC1"


@pytest.mark.parametrize(
    "last",
    [b"", b"$", b"$qC", b"$qC#", packet(b"?"), packet(b"c"), packet(b"s"), packet(b"Z0,7c08,1"),
     packet(b"c") + b"\x03", packet(b"vCont;c") + packet(b"g"), packet(b"D"), b"\x03\x03"],
    ids=repr,
)  # fmt: skip
def test_a_client_that_goes_leaves_the_guest_running_and_the_next_finds_it(last: bytes) -> None:
    with served() as (debugger, server):
        with Client(server.place) as client:
            assert client.ask(b"qC") == b"QC1"
            client.send(last)
        with Client(server.place) as client:
            assert client.ask(b"?")[:3] in (b"T02", b"T05")
            assert client.ask(b"m7c00,2") == b"89c0"
        until(lambda: debugger.wait(0) is None)
        assert debugger.wait(0.05) is None, "the guest runs"


def test_an_interrupt_after_detach_leaves_the_guest_running() -> None:
    with served() as (debugger, server):
        with Client(server.place) as client:
            assert client.ask(b"qC") == b"QC1"
            client.send(packet(b"c") + packet(b"D") + b"\x03")
            assert client.reply() == b"OK"
        time.sleep(0.2)  # the server notes that the client has gone
        assert debugger.wait(0.2) is None, "the guest runs"


def test_a_client_that_reads_nothing_is_dropped_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringlet.observe.gdb.server._PATIENCE", 0.2)
    with served() as (_, server):
        with Client(server.place) as client, pytest.raises((ConnectionError, TimeoutError)):
            client.send(packet(b"qXfer:features:read:target.xml:0,3f00") * 100_000)
        with Client(server.place) as client:
            assert client.ask(b"qC") == b"QC1"


def test_the_end_of_the_run_is_told() -> None:
    with served(exit_with(7)) as (debugger, server), Client(server.place) as client:
        client.send(packet(b"c"))
        assert client.reply() == b"O657869742d706f72740a"  # exit-port
        assert client.reply() == b"W07"
        assert client.has_ended
        assert debugger.machine.wait(60).status == 7  # type: ignore[union-attr]


def test_devices_are_shown_at_a_stop_alone(client: Client) -> None:
    def monitor(command: bytes) -> bytes:
        return bytes.fromhex(client.ask(b"qRcmd," + command.hex().encode()).decode())

    assert b"local-apic  " in monitor(b"devices")
    assert b"lcr  " in monitor(b"devices com1")
    client.send(packet(b"c"))
    assert monitor(b"devices").startswith(b"the guest runs\n")
    assert monitor(b"exits").startswith(b"vCPU 0: ")


def test_an_address_beyond_64_bits_is_refused(client: Client) -> None:
    asked = b"qRcmd," + b"page 0xffffffffffffffffff".hex().encode()
    answer = bytes.fromhex(client.ask(asked).decode())
    assert answer.startswith(b"0xffffffffffffffffff is no address\n")


def test_kill_ends_the_run() -> None:
    with served() as (debugger, server), Client(server.place) as client:
        client.send(packet(b"k"))
        result = debugger.machine.wait(60)
        assert result is not None
        assert result.reason == "killed"
        assert client.has_ended


def test_closing_the_server_lets_the_guest_run_on(no_leak: None) -> None:
    with machine(NOPS) as made, debug(made) as debugger:
        made.start()
        with GdbServer(debugger, "0") as server, Client(server.place) as client:
            assert client.ask(b"qC") == b"QC1"
            server.close()
            assert client.has_ended
        assert debugger.wait(0.05) is None


def test_a_client_that_reads_nothing_delays_the_close_by_little(tmp_path: Path) -> None:
    with served(where=str(tmp_path / "gdb")) as (_, server), Client(server.place) as client:
        client.socket.settimeout(0.5)
        with suppress(TimeoutError):
            client.send(packet(b"qXfer:features:read:target.xml:0,3f00") * 100_000)
        began = time.monotonic()
        server.close()
        assert time.monotonic() - began < 9  # of ten that it waits for a client that is served


def test_it_listens_on_this_machine_alone() -> None:
    with served() as (_, server):
        port = int(server.place[1:])
        entry = f"0100007F:{port:04X}"
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        assert [words[1] for words in lines if words[1].endswith(entry[-5:]) and words[3] == "0A"]
        for words in lines:
            if words[1].endswith(entry[-5:]) and words[3] == "0A":
                assert words[1] == entry


def test_a_port_that_is_taken_is_told() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        machine(SPIN) as made,
        debug(made) as debugger,
        pytest.raises(ConfigError, match="in use"),
    ):
        GdbServer(debugger, str(taken.getsockname()[1]))


@pytest.mark.parametrize(
    "where", ["65536", "99999999999", "/nowhere/at/all", "", "x\0y", "a" * 200]
)
def test_a_place_that_cant_be_had_is_told(where: str, no_leak: None) -> None:
    with machine(SPIN) as made, debug(made) as debugger, pytest.raises(ConfigError):
        GdbServer(debugger, where)


@pytest.mark.parametrize("where", ["-3", "-0", "65536", "9" * 5000], ids=lambda name: name[:9])
def test_a_number_that_is_no_port_is_no_path_either(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with (
        machine(SPIN) as made,
        debug(made) as debugger,
        pytest.raises(ConfigError, match="is no port") as refused,
    ):
        GdbServer(debugger, where)
    assert refused.value.hint == "name a port from 0 to 65535, or a path, such as ./gdb"
    assert not list(tmp_path.iterdir())


def test_a_dead_socket_is_replaced_and_a_file_is_not(tmp_path: Path) -> None:
    dead, file, alive = tmp_path / "dead", tmp_path / "file", tmp_path / "alive"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(dead))
    file.write_text("mine")
    with served(where=str(dead)) as (_, server), Client(server.place) as client:
        assert client.ask(b"qC") == b"QC1"
    assert not dead.exists()
    with machine(SPIN) as made, debug(made) as debugger:
        with pytest.raises(ConfigError):
            GdbServer(debugger, str(file))
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(alive))
            other.listen()
            with pytest.raises(ConfigError):
                GdbServer(debugger, str(alive))
    assert file.read_text() == "mine"
    assert os.path.exists(alive)
