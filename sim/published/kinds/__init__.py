"""Questions that published figures answer, a module a subject; each function asks the general model one of them.

A function's first argument holds the paper's own inputs; the others, by keyword, are text or numbers from a data file.
"""
