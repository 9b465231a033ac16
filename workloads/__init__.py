"""What people run, as cascades.

Functions that build one from its sizes: :mod:`workloads.attention`, :mod:`workloads.latent`, :mod:`workloads.ffn`,
:mod:`workloads.moe`, :mod:`workloads.gates`, :mod:`workloads.sparse` (``weir list workloads`` names them all). Whole
models: :func:`workloads.transformer.model`, from a name or a ``config.json``. :mod:`workloads.kernels` are compiled
functions of arrays, :mod:`workloads.matrices` sparse matrices, read or drawn. Import the module that is needed:
``from workloads import attention``.
"""
