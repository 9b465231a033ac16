from __future__ import annotations

from pathlib import Path

import pytest

from einsum import WeirError
from mappings.formats import ALL, parse_format, sizes
from mappings.sparse import FOLDER, names, read

GOOD = (FOLDER / "piuma_row.toml").read_text()


def test_every_file_reads_and_says_where_it_comes_from() -> None:
    for name in names():
        one = read(name)
        assert one.title
        assert one.source
        assert {f.tensor for f in one.formats} == {t.name for t in one.cascade.tensors}


def test_a_format() -> None:
    made = parse_format("A", ["12", "4 every k all", "8 each m 128 k 128"], ("m", "k"), "x")
    entry, pointer, tile = made.parts
    assert entry.extents(("m", "k")) == (1, 1)
    assert (pointer.extents(("m", "k")), pointer.every) == ((1, ALL), True)
    assert tile.extents(("m", "k")) == (128, 128)
    assert sizes([made]) == {"A": 12.0, "A.k": 4.0, "A.m.k": 8.0}


def test_other_tiles() -> None:
    one = read("extensor").with_tiles({"m.0": 4096, "k.1": 64})
    assert "for m tile 4096" in str(one.nest)
    assert str(one.nest).count("for k tile 64") == 1
    with pytest.raises(WeirError, match=r"no loop 'm.7' in the nest; did you mean 'm\.\d'"):
        one.with_tiles({"m.7": 2})
    with pytest.raises(WeirError, match="a tile is 1 or more"):
        one.with_tiles({"m.0": 0})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("share =", "chair =", "unknown key 'chair'; did you mean 'share'"),
        ('share = "dynamic"', 'share = "dynamc"', "share is 'dynamc'; did you mean 'dynamic'"),
        ("title =", "# title =", "'title' is missing"),
        ("product = 12", "produkt = 12", "unknown key 'produkt'; did you mean 'product'"),
        ("product = 12", "product = -1", "'product' must be a number from 0"),
        ('hash = "multiplicative"', 'hash = "md5"', "hash is 'md5'"),
        ("load = 0.5", "load = 1.5", "load must lie between 0 and 1"),
        ('Z = "hash"', 'Z = "hush"', "Z is 'hush'; did you mean 'hash'"),
        ('Z = "hash"', 'Z = "merge"', "'merge' is not add, hash, intersect or 'merge RADIX'"),
        ('Z = "hash"', 'Z = "merge 1"', "a merger's radix is at least 2"),
        ('Z = "hash"', 'Y = "hash"', "unknown key 'Y'"),
        ('"8 each n all"', '"8 each q all"', "format of B: no rank 'q'"),
        ('"8 each n all"', '"8 for n all"', "is not BYTES, or BYTES each"),
        ('B = ["12"', 'B = ["4 each n all"', "the first part is the bytes of an entry"),
        ('dma = ["Z"]', 'dma = "Z"', "'dma' must be a list of tensors"),
        (
            "for m tile 64",
            "fro m tile 64",
            "piuma.toml nest: line 2: 'fro m tile 64' is not a node; did you mean 'for'",
        ),
        ('cascade = "Z', 'cascade = "z', "z"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    path = tmp_path / "piuma.toml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(WeirError) as error:
        read(path)
    assert message in str(error.value)


def test_unknown_names() -> None:
    with pytest.raises(WeirError, match="unknown sparse mapping 'gama'; did you mean 'gamma'"):
        read("gama")
