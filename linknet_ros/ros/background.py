"""Work that takes long, for coroutines of an executor, which does everything else meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from rclpy.executors import Executor
from rclpy.task import Future


def in_background(executor: Executor, work: Callable[[], Any]) -> Future:
    """Start work on a thread of its own; await what this returns.

    Without a coroutine to go on with, e.g. when the node is destroyed, the work is finished all
    the same.
    """
    future = Future()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)
        # An executor looks after its coroutines only when something wakes it.
        executor.wake()

    threading.Thread(target=run, name='background').start()
    return future
