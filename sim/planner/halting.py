"""Kernels in a thread of their own, so that an interrupt and the end of the time take effect while they run."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from math import inf
from typing import TypeVar

import numpy as np

from sim.planner.search import Ints

T = TypeVar("T")


def until(kernel: Callable[[Ints], T], seconds: float = inf) -> T:
    """What a kernel returns that looks at the array it is given, and ends soon after its first value is not zero.

    That is when ``seconds`` are over. An interrupt sets it too, and is raised when the kernel has ended.
    """
    stop = np.zeros(1, np.int64)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(kernel, stop)
        try:
            wait([running], None if seconds == inf else max(seconds, 0.0))
        finally:
            stop[0] = 1
    return running.result()
