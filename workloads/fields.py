"""Fields of a configuration, read one by one so that whatever was not understood is left over and refused by name."""

from __future__ import annotations

from typing import Any

from einsum.errors import hint, raise_all

REQUIRED: Any = object()  # a default that means: the field must be there

# Fields that say nothing about one inference step: identity, tokens, training, code, caching.
HARMLESS = frozenset(
    [
        "_name_or_path",
        "architectures",
        "auto_map",
        "transformers_version",
        "model_type",
        "source",
        "unverified",
        "id2label",
        "label2id",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "unk_token_id",
        "sep_token_id",
        "decoder_start_token_id",
        "tokenizer_class",
        "prefix",
        "use_cache",
        "cache_implementation",
        "output_attentions",
        "output_hidden_states",
        "return_dict",
        "torchscript",
        "initializer_range",
        "init_std",
        "attention_dropout",
        "hidden_dropout",
        "resid_pdrop",
        "embd_pdrop",
        "attn_pdrop",
        "dropout",
        "activation_dropout",
        "classifier_dropout",
        "layerdrop",
        "residual_dropout",
        "embedding_dropout",
        "use_return_dict",
        "router_aux_loss_coef",
        "output_router_logits",
        "router_jitter_noise",
        "aux_loss_alpha",
        "seq_aux",
        "ep_size",
        "pretraining_tp",
        "rope_theta",
        "rope_interleave",
        "original_max_position_embeddings",
        "gradient_checkpointing",
        "use_bfloat16",
        "problem_type",
        "task_specific_params",
        "attn_implementation",
        "_attn_implementation",
    ]
)


class Fields:
    """The fields of one configuration and the problems found in them so far."""

    def __init__(self, raw: dict[str, Any], where: str, prefix: str = "") -> None:
        self.raw, self.where, self.prefix = raw, where, prefix
        self.kind = ""
        self.known: set[str] = set()
        self.problems: list[str] = []

    def problem(self, message: str) -> None:
        """Note a problem, to be raised with the others."""
        self.problems.append(f"{self.where}: {message}")

    def given(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self.raw.get(name) is not None

    def take(self, name: str, default: Any) -> Any:
        """The field's value, or its default; a missing required field is a problem."""
        self.known.add(name)
        if self.given(name):
            return self.raw[name]
        if default is REQUIRED:
            near = hint(name, [k for k in self.raw if k not in self.known]) if self.raw else ""
            self.problem(f"field {self.prefix + name!r} is missing{near if 'mean' in near else ''}")
        return default

    def count(self, name: str, default: Any = REQUIRED, *, low: int = 1, high: int = 1 << 24) -> int:
        """A whole number from ``low`` to ``high``; ``low`` where there is a problem, so that reading can go on."""
        value = self.take(name, default)
        if value is REQUIRED:
            return max(low, 1)
        whole = isinstance(value, int) and not isinstance(value, bool)
        if whole and (low <= value <= high or value == default):
            return int(value)
        self.problem(f"field {self.prefix + name!r} must be a whole number from {low} to {high}, not {_short(value)}")
        return max(low, 1)

    def number(self, name: str, default: Any = REQUIRED, *, low: float = 0.0, high: float = 1e9) -> float:
        """A finite number above ``low``, or the default."""
        value = self.take(name, default)
        if value is REQUIRED:
            return 1.0
        real = isinstance(value, int | float) and not isinstance(value, bool)
        if real and (value == default or low < value <= high):  # NaN and infinity fail both
            return float(value)
        self.problem(f"field {self.prefix + name!r} must be a number above {low:g}, not {_short(value)}")
        return 1.0

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self.take(name, default)
        if not isinstance(value, bool):
            self.problem(f"field {self.prefix + name!r} must be true or false, not {_short(value)}")
            return default
        return value

    def text(self, name: str, default: Any = REQUIRED, *, among: tuple[str, ...] = ()) -> str:
        """A text, one of ``among`` if that is given."""
        value = self.take(name, default)
        if value is REQUIRED:
            return ""
        if value == default or (isinstance(value, str) and (not among or value in among)):
            return str(value)
        near = hint(value, among) if isinstance(value, str) and among else ""
        self.problem(f"field {self.prefix + name!r} is {_short(value)}, which is not understood here{near}")
        return ""

    def fixed(self, name: str, value: Any, reason: str) -> None:
        """A field that is only understood at one value (or absent)."""
        given = self.take(name, value)
        if given != value or isinstance(given, bool) != isinstance(value, bool):
            self.problem(f"field {self.prefix + name!r} is {_short(given)}: {reason}")

    def ignored(self, *names: str) -> None:
        """Fields that say nothing about one step of this family."""
        self.known.update(names)

    def inner(self, name: str) -> Fields:
        """A field that is itself an object of fields; its problems are this one's."""
        value = self.take(name, {})
        if not isinstance(value, dict):
            self.problem(f"field {name!r} must be an object of fields, not {_short(value)}")
            value = {}
        found = Fields(value, self.where, f"{name}.")
        found.kind, found.problems = self.kind, self.problems
        return found

    def leftover(self) -> None:
        """Note every field that nothing has read: it may change the computation."""
        for name in self.raw:
            if name not in self.known and name not in HARMLESS and self.given(name):
                self.problem(
                    f"field {self.prefix + str(name)!r} is not understood by model_type {self.kind!r}"
                    f"{_meant(str(name), self.known)}; remove it only if the computation does not depend on it"
                )

    def finish(self) -> None:
        """Raise all problems at once, one a line."""
        self.leftover()
        raise_all(self.problems)


def _meant(name: str, known: set[str]) -> str:
    near = hint(name, known)
    return f" ({near[2:].rstrip('?')}?)" if "mean" in near else ""


def _short(value: Any) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**30 else "a huge number"
    return text if len(text) <= 60 else text[:57] + "..."
