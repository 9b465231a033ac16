"""Every measured kind of kernel on every described device: none is refused, and better hardware slows nothing."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import combinations

import numpy as np
import pytest

from sim.arch import Device, cluster, device, device_names, tier
from sim.model.chip import Chip
from sim.silicon.cases import Case, cases
from sim.silicon.store import shipped

DESCRIBED = [name for name in device_names() if Chip.of(device(name)) is not None]
SCALE = 1.3


@cache
def kernels() -> dict[str, tuple[Case, ...]]:
    """Cases of the shipped sample by operation; whose hardware they stand on is exchanged below."""
    return {rows.operation: cases(rows) for rows in shipped()}


def seconds(operation: str, on: Device, cold: bool = False) -> np.ndarray:
    """Seconds of every shipped kernel of an operation on a device, or on as many of it as its row has."""
    found = []
    for case in kernels()[operation]:
        tasks = tuple(replace(task, again=0.0) for task in case.tasks) if cold else case.tasks
        where = cluster(f"{case.where.pools[0].count}x{on.name}")
        pools = tuple(replace(pool, device=on) for pool in where.pools)
        found.append(replace(case, tasks=tasks, where=replace(where, pools=pools)).seconds(tier("physical")))
    return np.concatenate(found)


def faster(on: Device, *ends: str) -> Device:
    """The device with every number whose path ends so made larger."""
    for path in on.paths:
        if path.endswith(ends) or any(end in path for end in ends):
            on = on.with_(path, on.get(path) * SCALE)
    return on


@pytest.mark.parametrize("name", DESCRIBED)
def test_every_kernel_has_a_time_on_every_device_and_better_hardware_slows_none(name: str) -> None:
    on = device(name)
    better = {
        "memory": on.with_("memory.bandwidth", on.memory.bandwidth * SCALE),
        "matrix units": faster(on, ".device_rate.mac."),
        "links": faster(on, *(f"{link.name}.bandwidth" for link in on.links)),
    }
    for operation in kernels():
        here = seconds(operation, on)
        assert np.isfinite(here).all()
        assert (here > 1e-6).all()
        for changed in better.values():
            assert (seconds(operation, changed) <= here * (1 + 1e-9)).all()


@pytest.mark.parametrize("name", DESCRIBED)
def test_more_multiprocessors_slow_no_large_product(name: str) -> None:
    on = device(name)
    sm = on.multiprocessor
    assert sm is not None
    more = on.with_(f"{sm.name}.count", sm.count * 2)  # each as fast as before
    before, after = seconds("gemm", on), seconds("gemm", more)
    large = before > 1e-3
    assert large.any()
    assert (after[large] < before[large]).all()


def sizes(on: Device) -> np.ndarray:
    """What sets a kernel's pace: bandwidth, peaks, last cache, multiprocessors and their clock."""
    found = Chip.of(on)
    assert found is not None
    return np.array(
        [found.bandwidth, on.rate("mac", "fp16"), on.rate("exp", "fp32"), found.last, found.sms, found.clock]
    )


def kind(name: str) -> tuple[object, ...]:
    """Vendor, architecture, and whether matrix units work by themselves (not all of one architecture's do)."""
    on = device(name)
    return on.vendor, on.architecture, any(unit.asynchronous for unit in on.computes)


ALIKE = [(one, two) for one, two in combinations(DESCRIBED, 2) if kind(one) == kind(two)]


@pytest.mark.parametrize(("one", "two"), ALIKE)
def test_devices_of_one_architecture_differ_no_more_than_their_datasheets(one: str, two: str) -> None:
    """Kernel by kernel and with cold caches, by no more than half as much again as the most unlike of their numbers."""
    ratios = sizes(device(one)) / sizes(device(two))
    for operation in set(kernels()) - {
        "collectives",
        "elementwise_vidur",
    }:  # whose links, and rows in a cache, differ more
        times = seconds(operation, device(one), cold=True) / seconds(operation, device(two), cold=True)
        assert np.maximum(times, 1 / times).max() < 1.5 * np.maximum(ratios, 1 / ratios).max()


def test_compute_units_behind_dies_are_counted_and_the_memory_side_cache_is_the_last() -> None:
    """MI300X: 8 dies of 38 units (ROCm documentation); 256 MiB before the memory, whatever each die's own cache."""
    found = Chip.of(device("mi300x"))
    assert found is not None
    assert found.sms == 304
    assert found.last == found.cache == 256 * 2**20
    two = Chip.of(device("mi250x"))
    assert two is not None
    assert (two.sms, two.last, two.cache) == (220, 16 * 2**20, 8 * 2**20)
