"""A vCPU that runs on a thread of its own, and ways to see what it is doing."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread, get_native_id
from types import TracebackType

from ringlet.kvm.exits import Exit
from ringlet.kvm.vcpu import Vcpu

from ..until import until

DEADLINE = 30  # seconds after which a test has failed; nothing waits that long


class Background:
    """Runs `vcpu` up to its next exit. A context manager: a guest that goes on is stopped."""

    def __init__(self, vcpu: Vcpu, prepare: Callable[[], object] = lambda: None) -> None:
        self._vcpu = vcpu
        self._prepare = prepare
        self._exit: Future[Exit] = Future()
        self._thread_id: Future[int] = Future()
        self._thread = Thread(target=self._run)

    def _run(self) -> None:
        try:
            self._thread_id.set_result(get_native_id())
            self._prepare()
            self._exit.set_result(self._vcpu.run())
        except BaseException as error:
            self._exit.set_exception(error)

    @property
    def exit(self) -> Exit:
        """Waits for it."""
        return self._exit.result(DEADLINE)

    def until_asleep(self) -> None:
        """Waits for its thread to sleep, as one does whose guest is halted."""
        path = f"/proc/self/task/{self._thread_id.result(DEADLINE)}/stat"

        def asleep() -> bool:
            with open(path) as file:
                return file.read().rpartition(")")[2].split()[0] == "S"

        until(asleep)

    def __enter__(self) -> "Background":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._exit.done():
            self._vcpu.kick()
        self._thread.join()
