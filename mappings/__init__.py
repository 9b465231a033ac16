"""How a cascade is laid out in time, space and storage.

Loop nests for one device: :mod:`mappings.tree` (what a nest is), :mod:`mappings.text` (read and written), and nests for
known machines, :mod:`mappings.arrays`, :mod:`mappings.attention_arrays` and :mod:`mappings.gpu`. Layouts for clusters:
:mod:`mappings.layout`, :mod:`mappings.parallel`; of training steps :mod:`mappings.division`, :mod:`mappings.training`.
Sparse products: :mod:`mappings.sparse`. Import the module that is needed: ``from mappings import gpu``.
"""
