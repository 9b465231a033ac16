"""The same load on several clusters side by side, priced from one book."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from einsum.errors import WeirError
from sim.arch import Cluster, cluster
from sim.serving.advice import BreakEven, break_evens
from sim.serving.answer import Answer, flat, priced, read_model, serve
from sim.serving.deploy import Model


@dataclass(frozen=True)
class Comparison:
    """The same load on several clusters, priced from one book; the first is what the others are compared with."""

    answers: tuple[Answer, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        """Tokens per dollar of each over the first's."""
        return tuple(a.tokens_per_dollar / self.answers[0].tokens_per_dollar for a in self.answers)

    @property
    def break_evens(self) -> tuple[BreakEven, ...]:
        """For each answer after the first, the price of each device at which it draws level with the first."""
        first, *others = ((a.cluster.name, a.tokens_per_second, a.devices) for a in self.answers)
        return tuple(one for other in others for one in break_evens(first, other, self.answers[0].prices))

    def summary(self) -> dict[str, Any]:
        """Each answer's summary, ratios and break-even prices, under the JSON schema ``weir.compare/1``."""
        return {
            "schema": "weir.compare/1",
            "answers": [a.summary() for a in self.answers],
            "tokens_per_dollar_ratio": list(self.ratios),
            "break_even": [
                {"device": b.device, "usd_per_hour": b.price, "now": b.now, "wins": b.other, "over": b.first,
                 "where": "below" if b.below else "above"}
                for b in self.break_evens
            ],
        }  # fmt: skip

    def frame(self) -> Any:
        """A pandas DataFrame, one row a cluster, with the ratio of tokens per dollar."""
        import pandas as pd

        rows = [flat(a.summary()) | {"ratio": r} for a, r in zip(self.answers, self.ratios, strict=True)]
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        """Each answer, with its ratio to the first."""
        pairs = zip(self.answers, self.ratios, strict=True)
        return "\n".join(f"{answer}\n  {ratio:.2f} x the first's tokens per dollar" for answer, ratio in pairs)


def compare(
    model: Model | str | Path, clusters: Iterable[Cluster | str | Path], *, prices: str | None = None,
    price: Mapping[str, str | float] | None = None, **terms: Any,
) -> Comparison:  # fmt: skip
    """Serve a model on several clusters on the same terms (those of :func:`serve`) and from one price book.

    The result prints side by side, ratios to the first; ``frame()`` has a row a cluster. Raises as :func:`serve` does.
    """
    resolved = read_model(model)
    places = [c if isinstance(c, Cluster) else cluster(c) for c in clusters]
    if not places:
        raise WeirError("nothing to compare: name at least one cluster")
    book = priced(places, prices, price)
    return Comparison(tuple(serve(resolved, place, prices=book, **terms) for place in places))
