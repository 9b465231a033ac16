"""Seconds of kernels on a graphics processor: waves of tiles over its multiprocessors, what each can draw from memory.

A multiprocessor is a copy of the fan-out that states a clock and the threads it keeps (also called compute unit, or Xe
core); a kernel's tiles are dealt to them in waves, the last one partly empty. The time of a fused kernel is its launch
and epilogue (in clocks), then a blend between the longest and the sum of what its units and its memory need; what runs
in sequence is added. Tile and split are chosen as a library chooses: the fastest. Constants are alike for every device
(``sim/arch/data/physical.toml``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from sim.arch import bits
from sim.model.chip import Chip, Constants
from sim.model.products import Product
from sim.model.task import Task

TILES = ((64, 32), (64, 128), (128, 128), (128, 256))  # rows and columns of a product's tile
SPLITS = (1, 2, 4, 8, 16)  # ways in which the depth of a product is divided among multiprocessors
ROUTED = ((16, 64), (16, 128), (32, 128), (64, 128), (128, 128), (128, 256))  # a grouped product's, its depth whole
SCALED = 128  # depth after which partial sums of block-scaled values are scaled and added outside the matrix unit
LANES = 128  # results of the vector unit of one multiprocessor in a clock
PARTS = (1, 2, 4, 8, 16, 32, 64)  # ways in which a context is divided in decoding
BLOCK = 64  # keys that decoding takes at once
GROUP = 16  # queries of one key head that a matrix instruction takes at once (mma: PTX ISA)
WIDEST = 2  # of such groups that the vendor's kernel takes (supportConfigHMMA, decoderXQAImplJIT/kernelUtils.cpp)
ROWS = 64  # rows of a latent's heads, likewise; of queries, where matrix units work by themselves (wgmma: PTX ISA)
LOOPS = {"reduce": 1024, "curve": 1024, "turn": 512}  # threads of a block that goes through a row
DRIVER = 1e-6  # s, of a launch, whatever the clock


def seconds(task: Task, chip: Chip, constants: Mapping[str, Constants]) -> Any:
    """Seconds of a kernel, its launch included."""
    return _each(task, lambda one: _seconds(one, chip, constants))


def _each(task: Task, of: Callable[[Task], Any]) -> Any:
    """A figure of each design point by its own class: attention over one new position decodes, over more it fills."""
    single = np.asarray(task.fresh) == 1
    if not task.attends or task.prompt or single.all() or not single.any():
        return of(task)
    return np.where(single, of(replace(task, fresh=1.0)), of(task))


def _seconds(task: Task, chip: Chip, constants: Mapping[str, Constants]) -> Any:
    name = kernel_class(task)
    if task.flash and name in _FLASH:
        return _FLASH[name](task, chip, constants["decode"], constants["prefill"])
    own = _TIMES[name](task, chip, constants[name])
    many = name == "decode" and task.flash is None and _alone(task, chip)
    if not np.any(many):
        return own
    flash = _flash_decode(task, chip, constants["decode"], constants["prefill"])
    return np.where(many, np.minimum(own, flash), own)


def _alone(task: Task, chip: Chip) -> Any:
    """Whether a key head has more queries than the vendor's kernel takes; kernels for tcgen05 take any (trtllm-gen)."""
    return (task.products[0].rows > WIDEST * GROUP) & (not chip.apart)


def launched(task: Task, chip: Chip, constants: Mapping[str, Constants]) -> Any:
    """Seconds of a kernel's launch and epilogue, however small it is."""
    return _each(task, lambda one: _launched(chip, constants[_launches(one)]))


def _launches(task: Task) -> str:
    name = kernel_class(task)
    return "decode" if task.flash and name == "prefill" else name


def filled(task: Task, chip: Chip) -> Any:
    """Rows of whole matrix instructions for each row of queries that an attention has; 1 of other kernels.

    Queries stay rows, as each one's maximum and sum are over its keys; of other narrow products libraries make columns.
    """
    if not task.attends or len(task.products) < 2:
        return 1.0
    rows, most = task.products[0].rows, ROWS if chip.asynchronous else GROUP
    return np.ceil(rows / most) * most / rows


def kernel_class(task: Task) -> str:
    """The class of a kernel: which of the constants it takes."""
    if not task.products:
        return "narrow" if task.work == "narrow" else "elementwise"
    if task.products[0].routed:
        return "experts"
    if not task.attends or len(task.products) < 2:
        return "product"
    phase = "decode" if np.all(np.asarray(task.fresh) == 1) and not task.prompt else "prefill"
    scores, average = task.products[0], task.products[-1]
    latent = scores.kept == average.kept or not scores.lasts  # one state for keys and values, or expanded from one
    return f"latent_{phase}" if latent else phase


def _stacked(choices: tuple[tuple[int, ...], ...], like: Any) -> tuple[Any, ...]:
    """Each position of the choices as an array along an axis in front of all others."""
    ahead = (len(choices), *[1] * np.ndim(like))
    return tuple(np.reshape(np.array(column, float), ahead) for column in zip(*choices, strict=True))


def _launched(chip: Chip, k: Constants) -> float:
    return DRIVER + k["launch"] / chip.clock


def _product(task: Task, chip: Chip, k: Constants) -> Any:
    choices = tuple((*tile, split) for tile in TILES for split in SPLITS)
    return _launched(chip, k) + _tiled(task, chip, k, choices)


def _tiled(task: Task, chip: Chip, k: Constants, choices: tuple[tuple[int, ...], ...]) -> Any:
    """Merged products of one input by tiles: the fastest of the choices."""
    first, each = task.products[0], bits(task.products[0].dtype) / 8
    cols: Any = sum(p.cols for p in task.products)
    shape = first.copies * first.rows * cols * first.depth
    high, wide, split = _stacked(choices, shape)
    tiles = first.copies * np.ceil(first.rows / high) * np.ceil(cols / wide) * split
    depth = np.ceil(first.depth / split / 64) * 64
    busy = np.minimum(tiles, chip.sms)
    compute = 2 * high * wide * depth / (chip.rate(first.dtype) * chip.kept(k["compute"]) * k["compute"])
    if first.dtype.startswith("bfp") and not chip.apart:  # tcgen05 scales by itself
        compute = compute + high * wide * depth / SCALED / LANES / chip.clock  # one more of fp32 for each partial sum
    compute = chip.waves(tiles) * (compute + k["tile"] / chip.clock)
    size = task.size * np.where(task.again > 0, chip.missed(task.size, k), 1.0)
    memory = size / (chip.bandwidth * k["memory"]) / np.minimum(1.0, busy / chip.sms * k["draw"])
    cache = each * (high + wide) * depth * tiles / busy / (chip.clock * k["cache"])
    longest = _blend(compute, np.maximum(memory, cache), k["blend"])
    joined = 8 * first.rows * cols * split / (chip.sms * chip.clock * k["cache"]) + k["split"] / chip.clock
    return (longest + np.where(split > 1, joined, 0.0)).min(axis=0)


def _blend(one: Any, other: Any, power: float) -> Any:
    """Between the longer (a high power) and the sum (one) of two times that overlap in part."""
    return (one**power + other**power) ** (1 / power)


def _experts(task: Task, chip: Chip, k: Constants) -> Any:
    """A grouped product: rows padded to whole tiles for each expert in use, and tokens permuted before or after.

    Block-scaled values are narrowed after they are permuted, and their partial sums are added on the vector unit.
    Where weights are widened on the way, tokens of experts on other devices are carried along.
    """
    first = task.products[0]
    cols, rows = sum(p.cols for p in task.products), first.copies * first.rows
    mixed = bits(first.stored) < bits(first.dtype)
    weights = first.copies * first.depth * cols * bits(first.stored) / 8
    work = _grouped(first, cols, chip, k, k["mixed"] if mixed else 1.0, weights, chip.spilt(task.again, k))
    each = bits(first.dtype) / 8 if not first.dtype.startswith("bfp") else 8 / 3
    moved = k["permute"] * rows * (3 * each * first.depth + 2 * cols)
    moved = moved * np.maximum(chip.spilt(rows * (2 * first.depth + 2 * cols), k), k["floor"])
    moved = moved + k["tokens"] * first.tokens * first.depth
    if mixed:
        moved = moved + k["strays"] * (first.routes - rows) * first.depth
    return _launched(chip, k) * (k["slow"] if mixed else 1.0) + work + moved / chip.bandwidth


def _grouped(first: Product, cols: Any, chip: Chip, k: Constants, widened: float, weights: Any, spilt: Any) -> Any:
    """Products of many experts as one kernel: the fastest of its tiles."""
    high, wide = _stacked(ROUTED, first.copies * first.rows * cols * first.depth)
    loads = first.loads if len(first.loads) else np.asarray(first.rows)[None]
    tiles = first.copies * np.stack([np.ceil(loads / h).mean(axis=0) for h in np.ravel(high)]) * np.ceil(cols / wide)
    depth = np.ceil(first.depth / 64) * 64
    compute = widened * 2 * high * wide * depth / (chip.rate(first.dtype) * chip.kept(k["compute"]) * k["compute"])
    if first.dtype.startswith("bfp") and not chip.apart:  # tcgen05 scales by itself
        compute = compute + k["promote"] * high * wide * depth / SCALED / LANES / chip.clock
    compute = chip.waves(tiles) * (compute + k["tile"] / chip.clock)
    busy = np.minimum(tiles, chip.sms)
    memory = weights * spilt / np.minimum(chip.bandwidth * k["memory"], busy * chip.clock * k["draw"])
    memory = memory + weights * (1 - spilt) / (busy * chip.clock * k["cache"])
    return _blend(compute, memory, k["ahead"] if chip.asynchronous else k["blend"]).min(axis=0)


def _prefill(task: Task, chip: Chip, k: Constants) -> Any:
    """Blocks of queries against the keys before them, after a pass that turns positions and writes the cache."""
    scores, average = task.products[0], task.products[-1]
    width = scores.depth + average.cols
    overlap = 1.0 if chip.apart else k["overlap"] if chip.asynchronous else 0.0
    heads, [size] = scores.copies * scores.rows / task.fresh, _stacked(((ROWS,), (2 * ROWS,)), scores.cols * task.fresh)
    work = _blocks(task, chip, {**k, "overlap": overlap}, (heads, task.fresh, size)).min(axis=0)
    queries = 2 * scores.copies * scores.rows * scores.depth
    context = bits(scores.stored) / 8 * scores.copies * scores.cols * width
    passed = 3 * queries + 2 * context + 2 * scores.copies * scores.cols * width
    planned = k["plan"] / chip.clock if chip.asynchronous else 0.0
    return _launched(chip, k) + planned + work + k["passes"] * passed * chip.missed(passed, k) / chip.bandwidth


def _blocks(task: Task, chip: Chip, k: Constants, dealt: tuple[Any, Any, Any]) -> Any:
    """Seconds of blocks of queries that are dealt to the multiprocessors.

    ``dealt``: how often, so many rows of queries, and how many of them are in a block, which is as wide in keys.
    """
    scores, (heads, rows, size) = task.products[0], dealt
    share = np.clip(scores.share, 0, 1)
    blocks, keys = np.ceil(rows / size), np.ceil(scores.cols / size)
    tiles = blocks * np.minimum(keys, keys * share + 0.5)  # those that a mask cuts are done whole
    macs: Any = sum(p.copies * p.rows * p.cols * p.depth for p in task.products)  # two products, five on the way back
    each = macs / (scores.copies * scores.rows * scores.cols)
    matrix = 2 * size * size * each / (chip.rate(scores.dtype) * k["compute"])
    softmax = k["softmax"] * size * size / chip.clock
    hidden = k["overlap"] * np.minimum(matrix, softmax) * (size > ROWS)  # smaller blocks have nobody to take turns with
    tile = matrix + softmax - hidden
    tile = tile / chip.kept(matrix / tile)
    start = k["block"] / chip.clock
    busy = chip.waves(heads * blocks) * (tile * tiles / blocks + start)
    return np.maximum(busy, tile * keys * np.minimum(1.0, 2 * share) + start)


def _decode(task: Task, chip: Chip, k: Constants) -> Any:
    """Few queries against a long context, divided among multiprocessors where that is faster.

    More queries of one key head than the kernel takes run each by itself on the vector unit, which converts 8 values a
    clock (TensorRT-LLM's masked multi-head attention: a block of threads a head and request).
    """
    scores, average = task.products[0], task.products[-1]
    width = scores.depth + average.cols
    narrow = bits(scores.stored) <= 8
    group = np.ceil(scores.rows / GROUP)
    slow = narrow and not chip.asynchronous  # its kernels for narrow caches do not divide the context
    alone = _alone(task, chip)
    [parts] = _stacked(tuple((p,) for p in PARTS[: 1 if slow else None]), scores.copies * scores.cols * group)
    tiles = scores.copies * parts * np.where(alone, scores.rows, 1.0)
    keys = np.ceil(scores.cols / parts / BLOCK) * BLOCK
    memory = _drawn(task, chip, k, tiles)
    row = np.maximum(k["row"], 2 * GROUP * 256 * chip.clock / chip.rate(scores.dtype))  # no less than its products
    each = np.where(alone, k["convert"], row * group) + (k["convert"] if slow else 0.0)
    begun = k["block"] * (k["narrow"] if narrow and chip.asynchronous else 1.0)
    block = np.where((scores.rows > 1) & ~alone, begun, 0.0)
    work = np.maximum(tiles / chip.sms, 1.0) * (block + each * keys * width / 256) / chip.clock
    joined = np.where(parts > 1, k["split"] / chip.clock, 0.0)
    longest = (_blend(memory, work, 2.0) + joined).min(axis=0)
    passed = 2 * scores.copies * (2 * scores.rows + 4) * width / 2
    return _launched(chip, k) + longest + k["passes"] * passed / chip.bandwidth


def _flash_prefill(task: Task, chip: Chip, one: Constants, k: Constants) -> Any:
    """FlashAttention's blocks: a key head's queries packed into rows, softmax hidden behind asynchronous products.

    Shah et al., FlashAttention-3 (arXiv 2407.08608), 3.1 and 3.2; ``should_pack_gqa`` of its heuristics.h. It is the
    kernel that decodes, too, and is launched and begins a block like it; positions and the cache are others' work.
    """
    scores, overlap = task.products[0], 1.0 if chip.apart or chip.asynchronous else 0.0
    k = {**k, "overlap": overlap, "block": one["block"]}
    return _launched(chip, one) + _blocks(task, chip, k, (scores.copies, scores.rows, _high(scores.rows)))


def _high(rows: Any) -> Any:
    """Rows of a block of FlashAttention's, however few queries there are.

    ``use_one_mma_wg`` and ``tile_size_fwd_sm90`` of its hopper folder; ``run_mha_fwd_splitkv_dispatch`` has as many.
    """
    return np.where(np.asarray(rows) > ROWS, 2 * ROWS, ROWS)


def _flash_decode(task: Task, chip: Chip, one: Constants, k: Constants) -> Any:
    """The same kernel for one position of each request, its context divided where that is faster.

    What loads by itself (a producer warp) keeps ahead of the products.
    """
    scores, average = task.products[0], task.products[-1]
    width = scores.depth + average.cols
    [parts] = _stacked(tuple((p,) for p in PARTS), scores.copies * scores.cols * scores.rows)
    high = _high(scores.rows)
    tiles = scores.copies * np.ceil(scores.rows / high) * parts
    keys = np.ceil(scores.cols / parts / BLOCK) * BLOCK
    each = 2 * high * width / (chip.rate(scores.dtype) * k["compute"]) + k["softmax"] * high / chip.clock
    work = np.maximum(tiles / chip.sms, 1.0) * (one["block"] / chip.clock + each * keys)
    memory = _drawn(task, chip, one, tiles)
    longest = np.maximum(memory, work) if chip.asynchronous else _blend(memory, work, 2.0)
    joined = np.where(parts > 1, one["split"] / chip.clock, 0.0)
    return _launched(chip, one) + (longest + joined).min(axis=0)


def _drawn(task: Task, chip: Chip, k: Constants, tiles: Any) -> Any:
    """Seconds in which so many tiles of a decoding kernel draw the context, from memory and from the last cache."""
    busy = np.minimum(tiles, chip.sms)
    missed = np.where(task.again > 0, 1 - np.clip(3 * (1 - task.size / max(chip.cache, 1.0)), 0, 1), 1.0)
    memory = task.size * missed / np.minimum(chip.bandwidth * k["memory"], busy * chip.clock * k["draw"])
    return memory + task.size * (1 - missed) / (busy * chip.clock * k["cache"])


def _latent_decode(task: Task, chip: Chip, k: Constants) -> Any:
    """All heads of a request against one state, in blocks of rows as the matrix unit takes them."""
    scores, average = task.products[0], task.products[-1]
    width = scores.depth + average.cols
    divides = chip.asynchronous or task.divided
    divided = PARTS if divides else PARTS[:1]
    [parts] = _stacked(tuple((p,) for p in divided), scores.copies * scores.cols * scores.rows * width)
    tiles = scores.copies * np.ceil(scores.rows / ROWS) * parts
    busy = np.minimum(tiles, chip.sms)
    keys = np.ceil(scores.cols / parts / BLOCK) * BLOCK
    work = 2 * ROWS * keys * width / (chip.rate(scores.dtype) * chip.kept(k["compute"]) * k["compute"])
    if chip.asynchronous:
        work = chip.waves(tiles) * work
    else:  # two multiprocessors share a tile, each half of the latent's width
        work = np.maximum(np.ceil(2 * tiles / chip.sms), k["alone"]) * work / 2 / k["issued"]
    memory = task.size / np.minimum(chip.bandwidth * k["memory"], busy * chip.clock * k["draw"])
    joined = np.where(parts > 1, k["split"] / chip.clock, 0.0)
    passed = k["passes"] * 2 * scores.copies * scores.rows * width / chip.bandwidth
    planned = k["plan"] / chip.clock if divides else 0.0
    return _launched(chip, k) + planned + (_blend(memory, work, k["blend"]) + joined).min(axis=0) + passed


def _narrow(task: Task, chip: Chip, k: Constants) -> Any:
    """Two passes over memory, one for scales."""
    return _launched(chip, k) + k["passes"] * task.size * chip.missed(task.size, k) / chip.bandwidth


def _elementwise(task: Task, chip: Chip, k: Constants) -> Any:
    """One pass over memory beside the loops of the blocks of threads that each go through a row.

    A loop waits for its loads, for longer where they miss the cache. Of what the kernel before wrote, all is found
    there up to a fraction ``edge`` of its size, and nothing from a whole size more on: a line is read by one
    multiprocessor, so that partitions hold no copies.
    """
    missed = np.clip(task.size / max(chip.last, 1.0) - k["edge"], 0, 1)
    near = task.size * (1 - missed) / (chip.sms * chip.clock * k["cache"])
    moved = near + task.size * missed / (chip.bandwidth * k["memory"])
    if task.work not in LOOPS:
        return _launched(chip, k) + moved
    rounds = np.ceil(task.rows / (chip.sms * max(chip.threads // LOOPS[task.work], 1.0)))
    loops = rounds * k[task.work] * task.wide / chip.clock * (1 + k["far"] * missed)
    return _launched(chip, k) + _blend(moved * (k["turned"] if task.work == "turn" else 1.0), loops, k["blend"])


_FLASH: dict[str, Callable[[Task, Chip, Constants, Constants], Any]] = {
    "prefill": _flash_prefill, "decode": _flash_decode,
}  # fmt: skip
_TIMES: dict[str, Callable[[Task, Chip, Constants], Any]] = {
    "product": _product, "experts": _experts, "prefill": _prefill, "decode": _decode,
    "latent_prefill": _prefill, "latent_decode": _latent_decode,
    "elementwise": _elementwise, "narrow": _narrow,
}  # fmt: skip
