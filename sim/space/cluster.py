"""Executors on other machines: Dask's scheduler, where it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from einsum.errors import WeirError


@contextmanager
def scheduler(address: str, seconds: float = 10.0) -> Iterator[Executor]:
    """The workers behind a scheduler (``tcp://host:8786``) as one executor. A worker that is lost has its pieces
    computed by the others."""
    if find_spec("distributed") is None:
        raise WeirError("--scheduler needs Dask: pip install 'weir[dask]'")
    from distributed import Client

    make: Any = Client  # untyped

    try:
        client = make(address, timeout=seconds)
    except (OSError, ValueError) as error:
        raise WeirError(f"--scheduler {address}: no scheduler answers there ({str(error) or 'timed out'})") from None
    with client, client.get_executor(retries=3, pure=False) as executor:
        yield executor
