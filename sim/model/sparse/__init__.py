"""Counts of mapped sparse products: what a loop nest fetches of matrices in hand, fibre by fibre.

:mod:`sim.model.counts` scales the boxes of dense loops by expected densities; here the loops run over the places that
are present. Nests, keeps, actions, levels and units are the same, and so is what becomes of them.
"""
