import time
from threading import Event, Thread

from ringlet.host.processor_time import ProcessorTime


def work(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def test_work_between_begin_and_end_counts_and_no_other() -> None:
    used = ProcessorTime()
    assert used.read() == 0
    work(0.05)
    used.begin()
    work(0.05)
    used.end()
    work(0.05)
    assert 0.05 <= used.read() < 0.1


def test_threads_add_up_while_they_run_and_afterwards() -> None:
    used = ProcessorTime()
    worked, go = Event(), Event()

    def run() -> None:
        used.begin()
        work(0.05)
        worked.set()
        go.wait()
        used.end()

    used.begin()
    thread = Thread(target=run)
    thread.start()
    work(0.05)
    worked.wait()
    running = used.read()
    assert 0.1 <= running < 0.2
    go.set()
    thread.join()
    used.end()
    assert running <= used.read() < 0.2
