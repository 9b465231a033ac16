"""Loop nests as text: what is written reads back, and what is wrong is named with its line."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum import WeirError
from mappings.text import LIMIT, parse, read
from mappings.tree import Branch, Keep, Nest, Run, Spatial, Temporal

NEST = """\
keep A, B, Z in dram
for m tile 16
  keep A in buffer double
  spatial n tile 1 over columns
    sequence
      Z on mac
      keep Y in rf
      for k tile 2
        pipeline
          Y on mac
          X#2 on alu"""


def test_a_nest_prints_as_the_text_it_was_read_from() -> None:
    assert str(parse(NEST)) == NEST


def test_a_nest_is_a_chain_that_ends_in_a_run_or_a_branch() -> None:
    nest = parse("keep A, Z in dram\nfor m tile 4\n  Z on mac")
    assert nest == Nest((Keep(("A", "Z"), "dram"), Temporal("m", 4), Run("Z", "mac")))


def test_several_lines_under_a_loop_run_in_sequence() -> None:
    nest = parse("for m tile 4\n  Y on mac\n  Z on mac")
    assert nest.end == Branch("sequence", (Nest((Run("Y", "mac"),)), Nest((Run("Z", "mac"),))))


def test_comments_and_blank_lines_say_nothing() -> None:
    assert parse("# a nest\n\nfor m tile 4  # four at a time\n  Z on mac\n") == parse("for m tile 4\n  Z on mac")


def test_loops_in_space_say_how_a_rank_is_shared_out() -> None:
    nest = parse("spatial b ways 4 over model only Q, K\n  Q on model")
    assert nest.nodes[0] == Spatial("b", 4, ("Q", "K"), 0, "model")


names = st.sampled_from(("A", "B", "QK", "RM#2"))
leaves = st.builds(lambda e, u: Nest((Run(e, u),)), names, st.sampled_from(("mac", "alu")))
nodes = st.one_of(
    st.builds(Temporal, st.sampled_from(("m", "k1")), st.integers(1, 999)),
    st.builds(lambda r, t: Spatial(r, 0, (), t, "rows"), st.sampled_from(("m", "n")), st.integers(1, 9)),
    st.builds(lambda t, d: Keep(tuple(dict.fromkeys(t)), "buffer", d), st.lists(names, min_size=1), st.booleans()),
)


def _nests(children: st.SearchStrategy[Nest]) -> st.SearchStrategy[Nest]:
    chained = st.builds(lambda ns, c: Nest((*ns, *c.nodes)), st.lists(nodes, max_size=4), children)
    branch = st.builds(
        lambda how, cs: Nest((Branch(how, tuple(cs)),)),
        st.sampled_from(("sequence", "pipeline", "interleave")),
        st.lists(chained, min_size=1, max_size=3),
    )
    return st.one_of(chained, branch)


@settings(max_examples=200)
@given(st.recursive(leaves, _nests, max_leaves=8))
def test_any_nest_reads_back_equal(nest: Nest) -> None:
    assert parse(str(nest)) == nest


BAD = [
    ("", "mapping: no loop nest in the text"),
    ("for m tiles 3\n  Z on mac", "mapping: line 1: 'for m tiles 3' is not understood; write for RANK tile N"),
    ("fro m tile 3\n  Z on mac", "mapping: line 1: 'fro m tile 3' is not a node; did you mean 'for'?"),
    ("for m tile 0\n  Z on mac", "mapping: line 1: 'for m tile 0' is not understood; write for RANK tile N"),
    ("for m tile -3\n  Z on mac", "mapping: line 1: 'for m tile -3' is not understood; write for RANK tile N"),
    ("for m tile 3", "mapping: line 1: 'for m tile 3' has nothing indented under it"),
    ("for m tile 3\nZ on mac", "mapping: line 1: 'for m tile 3' has nothing indented under it"),
    ("sequence", "mapping: line 1: 'sequence' has nothing indented under it"),
    ("keep A in b", "mapping: line 1: 'keep A in b' keeps tensors for nothing: no loop or Einsum follows"),
    (
        "keep A into b\nZ on mac",
        "mapping: line 1: 'keep A into b' is not understood; write keep T1, T2 in LEVEL [double]",
    ),
    ("  Z on mac\nY on mac", "mapping: line 2: 'Y on mac' is indented less than the first line"),
    ("Z on mac\n    Y on mac", "mapping: line 2: 'Y on mac' is indented without a loop or branch above it"),
    ("\tZ on mac", "mapping: line 1: a tab; indent with spaces"),
    ("spatial m tile 2 in rows\n  Z on mac", "mapping: line 1: 'spatial m tile 2 in rows' is not understood"),
    (
        "for m tile 99999999999999999999\n  Z on mac",
        "mapping: line 1: 'for m tile 99999999999999999999' is not understood",
    ),
    ("__import__('os')", "mapping: line 1: \"__import__('os')\" is not a node"),
    ("Z on mac\n" + "x" * 200_000, f"mapping: line 2: {'x' * 60 + '...'!r} is not a node"),
    ("keep A, B, A in dram\nZ on mac", "mapping: line 1: 'keep A, B, A in dram' names a tensor twice"),
    ("Z on mac\n" * 20_000, "mapping: line 4001: 'Z on mac' is one line too many; at most 4000 are read"),
    ("for m tile -3\n  Z on mac", "mapping: line 1: 'for m tile -3' is not understood; write for RANK tile N"),
    ("x" * (LIMIT + 1), f"mapping: {LIMIT + 1} characters of mapping; at most {LIMIT} are read"),
]


@pytest.mark.parametrize(("text", "message"), BAD, ids=range(len(BAD)))
def test_what_is_no_nest_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(WeirError, match=re.escape(message)):
        parse(text)


def test_nesting_is_bounded() -> None:
    deep = "".join(f"{' ' * i}for m tile 1\n" for i in range(100)) + " " * 100 + "Z on mac"
    with pytest.raises(WeirError, match="is nested more than 64 deep"):
        parse(deep)


def test_a_file_is_read_and_a_missing_one_named(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "nest.txt"
    path.write_text(NEST)
    assert read(path) == read(str(path)) == parse(NEST)
    with pytest.raises(WeirError, match=r"no such mapping file: .*none\.txt"):
        read(str(tmp_path / "none.txt"))
