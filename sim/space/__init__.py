"""Sweeps and Pareto fronts."""
