"""What the host needs to launch a step's kernels one by one, where no recorded graph replays them.

A device that is faster than its host waits for it: an iteration that is not replayed takes no less than its launches.
"""

from __future__ import annotations

from sim.model.physical import kernel_class
from sim.model.step import Work
from sim.model.task import Task

# Seconds of the host for each operation of eager PyTorch, as measured with inputs of one element on an A100's host:
# LLMCompass (Zhang et al., ISCA 2024), hardware_model/compute_module.py. Its MI210's (34 us a product, 21 and 28 us
# passes) and TPU v3's are of other software; the A100's are taken for every device.
PRODUCT = 21e-6  # matrix product; taken for fused attention and for collectives too, which it does not give
PASS = 45e-6  # layer normalisation and GeLU; taken for every kernel that goes through values without a product


def launching(work: Work) -> float:
    """Seconds of the host to launch all kernels of a step, whatever their sizes."""
    return float(sum(part.times * sum(map(_each, found)) for part, found in work.parts))


def _each(task: Task) -> float:
    """Seconds for one kernel; what passes between pools is no launch of the host's."""
    if task.kind == "transfer":
        return 0.0
    passes = task.kind == "kernel" and kernel_class(task) in ("elementwise", "narrow")
    return PASS if passes else PRODUCT
