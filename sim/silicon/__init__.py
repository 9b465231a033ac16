"""Measured kernels beside the model's: how far each tier is off, on devices seen and not seen."""

from __future__ import annotations
