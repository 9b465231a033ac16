"""Memory planning: what lives where, when and at which offset, what is swapped, recomputed and bought."""
