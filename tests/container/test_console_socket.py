import os
import socket
from pathlib import Path

import pytest

from ringlet.container import console_socket
from ringlet.container.console_socket import ConsoleSocket
from ringlet.container.state import StateError


def test_a_terminal_is_taken_from_the_socket(no_leak: None) -> None:
    with ConsoleSocket() as console:
        read, write = os.pipe()
        with socket.socket(socket.AF_UNIX) as sender:
            sender.connect(console.path)
            socket.send_fds(sender, [b"/dev/pts/0"], [read])
            received = console.receive()
        os.write(write, b"x")
        assert os.read(received, 1) == b"x"
        assert not os.get_inheritable(received)
        for fd in (read, write, received):
            os.close(fd)
    assert not Path(console.path).parent.exists()


def test_without_a_terminal_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_socket, "_SECONDS", 0.05)
    with ConsoleSocket() as console, pytest.raises(StateError, match="sent no terminal"):
        console.receive()
    with ConsoleSocket() as console, socket.socket(socket.AF_UNIX) as sender:
        sender.connect(console.path)
        sender.send(b"nothing")
        with pytest.raises(StateError, match="sent no terminal"):
            console.receive()
