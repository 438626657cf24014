"""Handle Ctrl-C and SIGTERM as requests to stop after the current step, instead of dying in the middle of it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from embedtune.compute import distributed
from embedtune.core import cli


def ignore_ctrl_c(_: int) -> None:
    """Ignore Ctrl-C in a data loader's worker, which must live until the checkpoint is written."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def stop_request() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether a stop was requested.

    A second Ctrl-C stops at once, except under torchrun, which forwards the first one as a second. Outside the main
    thread, which alone receives signals, no stop is ever requested.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set signal handlers
        yield asked.is_set
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, _: FrameType | None) -> None:
        if not asked.is_set() and distributed.is_main():
            cli.say("\nstopping after this step, with a checkpoint")
        asked.set()
        if not distributed.is_launched():
            signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, ask)
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
