"""Published figures with their sources, recomputed by the general model."""
