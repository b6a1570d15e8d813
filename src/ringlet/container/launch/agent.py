"""The agent that answers the system calls of which a seccomp filter notifies it.

ringlet gets the filter's listener from the helper, and sends the listener to the agent. So no
process that others in the container could take over has a socket to the agent (docs/security.md).

Source: OCI Runtime Specification 1.3, config-linux.md ("Seccomp", "The container process state").
"""

from __future__ import annotations

import os
from socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, recv_fds, send_fds, socket, socketpair

from ringlet.closing import Closing
from ringlet.container.fast_json import dumps
from ringlet.container.launch.helper import LaunchError, nobody_listens

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.container.spec.types import Config


class Agent(Closing):
    """The agent of a configuration whose filter has a listener.

    `theirs` is the descriptor by which the helper sends the listener, and `state` the container's
    state without its process id. Raises LaunchError if nobody listens at `path`.
    """

    def __init__(self, path: str, config: Config, state: dict[str, object]) -> None:
        self._says = {
            "ociVersion": config["ociVersion"],
            "fds": ["seccompFd"],
            "metadata": config["linux"]["seccomp"].get("listenerMetadata", ""),
        }
        self._state = state
        self._agent = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        try:
            self._agent.connect(path)
        except OSError as error:
            self._agent.close()
            raise nobody_listens(path, error) from None
        self._ours, self._theirs = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        self._ours.setblocking(False)

    @property
    def theirs(self) -> int:
        """Returns the descriptor for the helper."""
        return self._theirs.fileno()

    def pass_on(self, pid: int) -> None:
        """Sends the agent the listener of the process `pid`, if the helper has sent it by now."""
        try:
            _, fds, _, _ = recv_fds(self._ours, 1, 1)
        except BlockingIOError:
            return
        try:
            text = dumps(self._says | {"pid": pid, "state": self._state | {"pid": pid}})
            send_fds(self._agent, [text.encode()], fds)
        except OSError as error:
            raise LaunchError(
                f"linux.seccomp: the agent doesn't take the listener: {error.strerror}",
                "is the agent at listenerPath still running?",
            ) from None
        finally:
            for fd in fds:
                os.close(fd)

    def close(self) -> None:
        """Ends the connection to the agent, who keeps the listener."""
        for one in (self._agent, self._ours, self._theirs):
            one.close()


def find(config: Config, state: dict[str, object]) -> Agent | None:
    """Returns the agent of a filter that can notify one; None for each other filter."""
    seccomp = config.get("linux", {}).get("seccomp", {})
    path = seccomp.get("listenerPath")
    if path is None or not any(
        rule["action"] == "SCMP_ACT_NOTIFY" for rule in seccomp.get("syscalls", ())
    ):
        return None
    return Agent(path, config, state)
