"""Mappers: legal nests found from others, and what each costs."""

from __future__ import annotations

from sim.search.legalise import Alternative, alternatives

__all__ = ["Alternative", "alternatives"]
