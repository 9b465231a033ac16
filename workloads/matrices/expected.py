"""What an R-MAT or uniform matrix is expected to hold, in closed form: entries, multiplications and entries of A A.

An R-MAT place's probability depends only on how often each quarter was chosen, so sums over places become sums over a
few hundred classes of places.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb, factorial
from typing import Any

import numpy as np

from workloads.matrices.generate import MILD, corners_of


@dataclass(frozen=True, slots=True)
class Expected:
    """Expected entries of A, multiplications of A A, and entries of A A."""

    entries: float
    multiplies: float
    product: float


def uniform(n: int, density: float) -> Expected:
    """``n`` x ``n`` at a density: ``n^3 p^2`` multiplications, ``n^2 (1 - (1 - p^2)^n)`` entries of the square."""
    return Expected(n * n * density, n**3 * density**2, -n * n * np.expm1(n * np.log1p(-(density**2))))


def rmat(scale: int, draws: int, corners: tuple[float, float, float, float] = MILD) -> Expected:
    """An R-MAT's expectations, repeats merged; places independent of one another."""
    given = corners_of(*corners)
    return Expected(_entries(scale, draws, given), _multiplies(scale, draws, given), _product(scale, draws, given))


def _present(draws: int, probability: Any) -> Any:
    """Probability that a place was drawn at least once."""
    return -np.expm1(-draws * probability)


def _entries(scale: int, draws: int, corners: tuple[float, ...]) -> float:
    """Sum over the multinomial classes of places."""
    a, b, c, d = corners
    total = 0.0
    for i, j, k in np.ndindex(scale + 1, scale + 1, scale + 1):
        if (rest := scale - i - j - k) >= 0:
            ways = factorial(scale) // (factorial(i) * factorial(j) * factorial(k) * factorial(rest))
            total += ways * float(_present(draws, a**i * b**j * c**k * d**rest))
    return total


def _degree(scale: int, draws: int, ones: int, zero: tuple[float, float], one: tuple[float, float]) -> float:
    """Expected entries of a row whose number has so many ones; each bit chooses between the two of its pair."""
    total = 0.0
    for u in range(scale - ones + 1):
        for v in range(ones + 1):
            p = zero[0] ** (scale - ones - u) * zero[1] ** u * one[0] ** (ones - v) * one[1] ** v
            total += comb(scale - ones, u) * comb(ones, v) * float(_present(draws, p))
    return total


def _multiplies(scale: int, draws: int, corners: tuple[float, ...]) -> float:
    """Sum over nodes, by the ones in their number, of column times row; a place on the diagonal is in both."""
    a, b, c, d = corners
    rows = [_degree(scale, draws, w, (a, b), (c, d)) for w in range(scale + 1)]
    columns = [_degree(scale, draws, w, (a, c), (b, d)) for w in range(scale + 1)]
    loops = [float(_present(draws, a ** (scale - w) * d**w)) for w in range(scale + 1)]
    return sum(comb(scale, w) * (rows[w] * columns[w] + loops[w] - loops[w] ** 2) for w in range(scale + 1))


def _product(scale: int, draws: int, corners: tuple[float, ...]) -> float:
    """Sum over places (m, n) by the pairs of bits in their numbers: present unless every path over k is absent."""
    a, b, c, d = corners
    firsts = ((a, b), (a, b), (c, d), (c, d))  # of the place (m, k), by k's bit, where (m, n) is 00, 01, 10, 11
    seconds = ((a, c), (b, d), (a, c), (b, d))  # of the place (k, n)
    tables = [
        [_paths(w, first, second) for w in range(scale + 1)] for first, second in zip(firsts, seconds, strict=True)
    ]
    total = 0.0
    for w0, w1, w2 in np.ndindex(scale + 1, scale + 1, scale + 1):
        if (w3 := scale - w0 - w1 - w2) >= 0:
            ways, left, right = _joined([t[w] for t, w in zip(tables, (w0, w1, w2, w3), strict=True)])
            both = _present(draws, left) * _present(draws, right)
            absent = np.sum(ways * np.log1p(-np.minimum(both, 1 - 1e-16)))
            absent += _loops(draws, corners, (w0, w1, w2, w3))
            places = factorial(scale) // (factorial(w0) * factorial(w1) * factorial(w2) * factorial(w3))
            total += places * -np.expm1(absent)
    return float(total)


def _loops(draws: int, corners: tuple[float, ...], bits: tuple[int, ...]) -> float:
    """What the paths m-m-n and m-n-n add to the logarithm of absence: they share the place (m, n)."""
    a, _, _, d = corners
    w0, w1, w2, w3 = bits
    chances = (np.prod(np.power(corners, bits)), a ** (w0 + w1) * d ** (w2 + w3), a ** (w0 + w2) * d ** (w1 + w3))
    direct, first, last = (min(float(_present(draws, p)), 1 - 1e-12) for p in chances)
    if w1 + w2 == 0:  # m is n
        return float(np.log1p(-direct) - np.log1p(-(direct**2)))
    apart = np.log1p(-direct * first) + np.log1p(-direct * last)
    return float(np.log1p(-direct * (first + last - first * last)) - apart)


def _paths(width: int, first: tuple[float, float], second: tuple[float, float]) -> tuple[Any, Any, Any]:
    """Ways to choose k's bits at so many positions, and both probabilities, by how many of them are one."""
    ones = np.arange(width + 1)
    ways = np.array([float(comb(width, int(u))) for u in ones])
    left, right = (pair[0] ** (width - ones) * pair[1] ** ones for pair in (first, second))
    return ways, left, right


def _joined(parts: list[tuple[Any, Any, Any]]) -> tuple[Any, Any, Any]:
    """All combinations of four choices, multiplied out."""
    ways, left, right = (np.ones(1) for _ in range(3))
    for w, p, q in parts:
        ways, left, right = (np.outer(x, y).ravel() for x, y in ((ways, w), (left, p), (right, q)))
    return ways, left, right
