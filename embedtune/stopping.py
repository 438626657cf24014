"""Ctrl-C and SIGTERM as a request to stop at the next good place, rather than a death in the middle of a step."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from embedtune import cli, distributed


def ignore_ctrl_c(_: int) -> None:
    """For a data loader's workers, which Ctrl-C reaches too: they have to live until the checkpoint is written."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def stop_request() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether a stop was asked for.

    A second Ctrl-C stops at once, except under torchrun, which passes the first one on as a second.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread alone
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
