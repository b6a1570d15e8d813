"""The GDB server: one client at a time, on this machine only.

    with Machine(config) as machine, Debugger(machine) as debugger, GdbServer(debugger, "1234"):
        machine.run()

A thread of its own serves the client. The guest stands still while a client is there, unless the
client lets it go on. A client that goes away, in whatever way, detaches: its breakpoints are
removed, and the guest goes on; so nothing waits for somebody who never comes back. The next client
stops the guest.

Source: GDB's manual, appendix E ("GDB Remote Serial Protocol").
"""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress
from select import POLLIN, POLLRDHUP, poll
from threading import Thread

from ringlet.closing import Closing
from ringlet.errors import ConfigError, RingletError
from ringlet.host.descriptor import eventfds
from ringlet.host.thread import start_without_signals
from ringlet.observe.gdb.packets import PacketReader, Signal, frame
from ringlet.observe.gdb.stub import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ringlet.observe.debug.debugger import Debugger

_LOCAL = "127.0.0.1"
_PATIENCE = 10.0  # seconds, for a client that doesn't read
_FAREWELL = 1.0  # seconds, for a client that doesn't read at the end of the run
_REST = 100  # milliseconds before the next try to accept a client
_CHUNK = 4096


class GdbServer(Closing):
    """Serves the guest of `debugger` to GDB at `where`: a TCP port, or the path of a Unix socket.

    `complain` takes a line for the user of ringlet. Raises `ConfigError` if the place can't be had.
    """

    def __init__(
        self, debugger: Debugger, where: str, complain: Callable[[str], None] = lambda line: None
    ) -> None:
        self._debugger = debugger
        self._complain = complain
        self._path: str | None = None
        self._listener = self._listen(where)
        (self._close_fd,) = eventfds(0)
        self._client: _Client | None = None
        self._rests = False  # whether the last client couldn't be accepted
        self._thread = Thread(target=self._serve, name="ringlet-gdb", daemon=True)
        try:
            start_without_signals(self._thread)
        except RingletError:
            self._close_all()
            raise

    @property
    def place(self) -> str:
        """What GDB's `target remote` takes: `:PORT` or a path."""
        return self._path or f":{self._listener.getsockname()[1]}"

    def _listen(self, where: str) -> socket.socket:
        if where.isascii() and where.removeprefix("-").isdigit():
            if not where.isdigit() or len(where) > 5 or int(where) > 0xFFFF:
                hint = "name a port from 0 to 65535, or a path, such as ./gdb"
                raise ConfigError(f"{where[:40]} is no port", hint)
            address: tuple[str, int] | str = (_LOCAL, int(where))
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            if not where or "\0" in where:
                raise ConfigError(f"{where!r} is no path", "name a port from 0 to 65535, or a path")
            address = where
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            _remove_dead_socket(where)
        before = os.umask(0o177)  # the socket is its user's alone, from the start
        try:
            listener.bind(address)
        except (OSError, ValueError) as error:
            listener.close()
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"GDB can't be served at {where}: {reason}", "name another port or path"
            ) from error
        finally:
            os.umask(before)
        if isinstance(address, str):
            self._path = address
        listener.listen(1)
        return listener

    def _serve(self) -> None:
        try:
            while not self._step():
                pass
        except BaseException as error:
            self._debugger.machine.control.fail(error)

    def _step(self) -> bool:
        """Waits for one thing and handles it; returns whether the server is over."""
        waiting = poll()
        stop_fd, ended_fd = self._debugger.filenos()
        if not self._rests:
            waiting.register(self._listener, POLLIN)
        waiting.register(self._close_fd, POLLIN)
        client = self._client
        if client is not None:
            # Until the guest stands still for the first time, nothing of the client is read.
            waiting.register(client.socket, POLLRDHUP if client.arrives else POLLIN | POLLRDHUP)
            waiting.register(ended_fd, POLLIN)
            if client.waits:
                waiting.register(stop_fd, POLLIN)
        ready = dict(waiting.poll(_REST if self._rests else None))
        self._rests = False
        if self._close_fd in ready:
            return self._finish()
        if client is None:
            if self._listener.fileno() in ready:
                self._accept()
            return False
        try:
            if ended_fd in ready:
                return self._finish()
            if stop_fd in ready:
                client.tell_stop()
            if client.socket.fileno() in ready:
                client.receive()
            elif self._listener.fileno() in ready:
                self._refuse()
        except (OSError, EOFError):
            self._drop(client)
        return False

    def _finish(self) -> bool:
        """Tells the client of the end of the run, if that has come."""
        client = self._client
        if client is not None:
            with suppress(OSError):
                if self._debugger.machine.control.has_ended and client.waits:
                    client.tell_stop()
            self._drop(client)
        return True

    def _connection(self) -> socket.socket | None:
        try:
            return self._listener.accept()[0]
        except OSError:  # it has gone already, or there are no more descriptors
            self._rests = True  # poll would report it at once, again and again
            return None

    def _accept(self) -> None:
        connection = self._connection()
        if connection is None:
            return
        connection.settimeout(_PATIENCE)
        if connection.family == socket.AF_INET:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._client = _Client(self._debugger, connection, self._complain)

    def _refuse(self) -> None:
        """Refuses a second client. If the first has just gone, the second waits for its turn."""
        connection = self._connection()
        if connection is not None:
            self._complain("a second GDB client was refused")
            connection.close()

    def _drop(self, client: _Client) -> None:
        client.socket.close()
        self._client = None
        if not client.session.detached and not self._debugger.machine.control.has_ended:
            with suppress(RingletError):  # the run is just about to end
                self._debugger.detach()

    def close(self) -> None:
        """Ends the service: a client that is there detaches. A second call does nothing."""
        if self._close_fd < 0:
            return
        os.eventfd_write(self._close_fd, 1)
        self._thread.join(_FAREWELL)
        client = self._client
        if client is not None and self._thread.is_alive():
            with suppress(OSError):  # it has just gone
                client.socket.shutdown(socket.SHUT_RDWR)  # each send to it ends, and fails
        self._thread.join()
        self._close_all()

    def _close_all(self) -> None:
        self._listener.close()
        os.close(self._close_fd)
        self._close_fd = -1
        if self._path is not None:
            with suppress(OSError):
                os.unlink(self._path)


class _Client:
    """A connection: its packets, and whether it waits for the guest to stop."""

    def __init__(
        self, debugger: Debugger, connection: socket.socket, complain: Callable[[str], None]
    ) -> None:
        self.socket = connection
        self.session = Session(debugger, complain)
        self._debugger = debugger
        self._reader = PacketReader()
        self._last = b""
        self.waits = True  # for the guest to stand still
        self.arrives = True  # whether this is for the first time, of which the client isn't told
        debugger.stop()

    def receive(self) -> None:
        """Takes what the client sent. Raises OSError or EOFError if the client has gone."""
        data = self.socket.recv(_CHUNK)
        if not data:
            raise EOFError
        for item in self._reader.feed(data):
            self._take(item)
            if self.session.detached:
                raise EOFError  # what else it sent, such as an interrupt, counts no more

    def _take(self, item: bytes | Signal) -> None:
        if item is Signal.INTERRUPT:
            if self.waits:
                self._debugger.stop()
        elif item is Signal.NACK:
            self.socket.sendall(self._last)
        elif isinstance(item, bytes):
            if self.session.acknowledges:
                self.socket.sendall(b"+")
            self._answer(item)
        elif self.session.acknowledges and item in (Signal.DAMAGED, Signal.TOO_LONG):
            self.socket.sendall(b"-")

    def _answer(self, packet: bytes) -> None:
        reply = self.session.answer(packet)
        if reply is None:
            self.waits = True
        else:
            self._send(reply)

    def tell_stop(self) -> None:
        """Notes that the guest stands still, and tells the client if it asked the guest to go."""
        stop = self._debugger.stopped
        if stop is None:
            return
        self.waits = False
        if not self.arrives:
            for packet in self.session.stopped(stop):
                self._send(packet)
        self.arrives = False

    def _send(self, data: bytes) -> None:
        self._last = frame(data)
        self.socket.sendall(self._last)


def _remove_dead_socket(path: str) -> None:
    """Removes a socket that nobody listens at, which an earlier run has left behind."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.connect(path)
    except ConnectionRefusedError:
        with suppress(OSError):
            os.unlink(path)
    except (OSError, ValueError):
        return
