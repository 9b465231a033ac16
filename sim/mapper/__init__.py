"""Mappers: the best nest of a stated space, and legal nests in place of illegal ones."""

from __future__ import annotations

from sim.mapper.hunt import Found, search
from sim.mapper.legalise import Alternative, alternatives
from sim.mapper.tiles import Space

__all__ = ["Alternative", "Found", "Space", "alternatives", "search"]
