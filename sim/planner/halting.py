"""Kernels in a thread of their own, so that an interrupt and the end of the time take effect while they run."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import numpy as np

from sim.planner.kernel import Ints

T = TypeVar("T")


def until(kernel: Callable[[Ints], T], seconds: float, keep: Callable[[T], None] | None = None) -> T:
    """What a kernel returns that looks at the array it is given, and ends soon after its first value is not zero.

    That is when ``seconds`` are over. An interrupt sets it too; it is raised when the kernel has ended and what it
    returned was given to ``keep``.
    """
    stop = np.zeros(1, np.int64)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(kernel, stop)
        try:
            wait([running], max(seconds, 0.0))
        finally:
            stop[0] = 1
            found = running.result()
            if keep is not None:
                keep(found)
    return found
