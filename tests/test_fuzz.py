"""Broken files of every format: each is read, or refused in words, quickly; nothing else comes out.

Good files are broken by cutting, repeating, swapping and planting awkward pieces. ``WEIR_FUZZ`` sets how many broken
files of each format are tried. In a process of its own, ``python tests/test_fuzz.py FILES [FORMAT ...]`` holds itself
to a gigabyte and says how much it used; there a crash shows as well.
"""

from __future__ import annotations

import gc
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import sim
from einsum import Cascade, WeirError, parse
from mappings import attention_arrays, sparse
from mappings.text import parse as parse_nest
from sim.arch import cluster, device, tier
from sim.arch.prices import book
from sim.cli.differences import parsed
from sim.interop.timeloop import convert
from sim.pages.page import page
from sim.pages.tables import read
from sim.planner import graphs
from sim.planner.placement import method
from sim.published import paper
from sim.serving.difference import differences
from sim.units import si
from workloads import attention, matrices, transformer

TRIES = int(os.environ.get("WEIR_FUZZ", "150"))
SLOW = 1.0  # seconds of CPU that no file may take
LONGEST = 20_000  # characters of a message
MEMORY = 256  # MB that reading may add to a process, however broken what it reads
ALLOWED = 1 << 30  # bytes that a process of its own may add
DATA = Path(sim.__file__).parent

AWKWARD = (
    "\0", "\ufeff", "\r\n", "\t", "nan", "inf", "-1", "0", "1e999", "1e-999", "9" * 400, "1_0", "0x10", "010", "NO",
    "[[", "]]", "{", "}", "(" * 200, ")" * 200, "[" * 3000, '"', "'''", "#", "=", "==", ",", ";", ":", "*", "**", "/ 0",
    "9**9**9", "a.b.c.d", "../../etc/passwd", "${HOME}", "{{7*7}}", "__import__('os')", "é", "漢字", "\u202e", "🦆",
    " " * 500, "x" * 5000, "null", "true", "GiB", "TB/s", "-0.0", "\\", "\\u0000", "lambda: 0", "for", "keep", "max[",
)  # fmt: skip


def broken(text: str, draw: random.Random) -> str:
    """``text`` with one to four things wrong."""
    for _ in range(draw.randint(1, 4)):
        start, stop = sorted(draw.randrange(len(text) + 1) for _ in range(2))
        stop = min(stop, start + draw.choice((1, 3, 10, 80)))
        piece = text[start:stop]
        text = draw.choice((
            lambda a, p, z: a + z,
            lambda a, p, z: a + p + p + z,
            lambda a, p, z: a + draw.choice(AWKWARD) + z,
            lambda a, p, z: a + p + draw.choice(AWKWARD) + z,
            lambda a, p, z: a + p[::-1] + z,
            lambda a, p, z: a,
            lambda a, p, z: _renumbered(a + p + z, draw),
            lambda a, p, z: _moved(a + p + z, draw),
        ))(text[:start], piece, text[stop:])  # fmt: skip
    return text


def _renumbered(text: str, draw: random.Random) -> str:
    """One number of ``text`` replaced by an awkward one."""
    found = list(re.finditer(r"\d[\d_.]*", text))
    if not found:
        return text
    one = draw.choice(found)
    return text[: one.start()] + draw.choice(("0", "-3", "1e400", "nan", "9" * 30, "0.5", "1e18")) + text[one.end() :]


def _moved(text: str, draw: random.Random) -> str:
    """Two lines of ``text`` exchanged."""
    lines = text.split("\n")
    a, b = (draw.randrange(len(lines)) for _ in range(2))
    lines[a], lines[b] = lines[b], lines[a]
    return "\n".join(lines)


def on_file(read: Callable[[Path], object], suffix: str) -> Callable[[str, Path], object]:
    """A reader of files as a reader of text."""

    def reading(text: str, folder: Path) -> object:
        path = folder / f"broken{suffix}"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        return read(path)

    return reading


def _texts(*patterns: str) -> list[str]:
    return [p.read_text(encoding="utf-8") for pattern in patterns for p in sorted(DATA.glob(pattern))]


def _cascades() -> list[str]:
    sizes = {"query": 4, "context": 8, "head_dim": 4}
    made = (attention.three_pass, attention.two_pass, attention.one_pass)
    return [_lines(make(**sizes)) for make in made] + [BIASED]


def _lines(cascade: Cascade) -> str:
    return "\n".join(str(e) for e in cascade.einsums)


BIASED = """Z[m, n] = A[m, k] * B[k, n] + C[n]
R[m] = max[n](Z[m, n])
S[0] = 0
S[i + 1] = S[i] * 0.5 + X[i]
I[c, x] = W[c, r] * J[c, x + r]"""

LLAMA = """{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096,
"intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
"vocab_size": 128256, "max_position_embeddings": 8192, "rms_norm_eps": 1e-05, "rope_scaling": null,
"tie_word_embeddings": false, "torch_dtype": "bfloat16", "quantization_config": {"quant_method": "fp8"}}"""
MOONCAKE = '{"timestamp": 27, "input_length": 6755, "output_length": 500, "hash_ids": [46, 47]}\n' * 20
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "2023-11-16 18:15:46.6805900,374,44\n" * 20
NESTS = (attention_arrays.interleaved(block=4, side=4), attention_arrays.unfused(block=4, side=4))


def example(page: str, language: str) -> str:
    """The first block of a language in a page of the documentation."""
    text = (DATA.parent / "docs" / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)[0]


RANKS = (*"mnkpefhbcxri", "m0", "m1")


def _cascade(text: str, _: Path) -> object:
    return parse(text, **dict.fromkeys(set(re.findall(r"\w+", text[:10000])) & set(RANKS), 4))


ROWS = [{"on": "4xh100", "batch": 2**n, "seconds": 0.1 * n, "ttft": {"p95": 1.5}, "fits": n > 1} for n in range(4)]
TABLES = [
    json.dumps(ROWS),
    json.dumps({"rows": ROWS, "units": {"batch": "requests"}, "manifest": {"seed": 1}}, indent=1),
]
SWEEP = "on,batch,seconds,energy [J],fits\n" + "".join(f'"4xh100, a",{n},{n / 7},1e{n},True\n' for n in range(9))
RESULT = """{"schema": "weir.estimate/1", "model": "m", "cluster": "2xa", "layout": "tp=2", "batch": 10,
"tokens_per_second": 100.5, "usd_per_hour": 6.0, "tpot": {"mean": 0.08, "p95": 0.1}, "ttft": {"mean": 1.0},
"devices": {"a": 2}, "prices": {"a": 3.0}, "price_book": "book", "notes": ["same"]}"""


def _compared(text: str, folder: Path) -> object:
    """A result beside a good one."""
    path = folder / "broken.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return [one.summary() for one in differences(json.loads(RESULT), parsed(str(path)))]


TRACE = 'title = "a"\nsource = "b"\nrequests = 5\nseconds = 3.5\nburstiness = 1.5\ncells = [[2, 30, 4], [3, 9, 12]]\n'
MARKET = "%%MatrixMarket matrix coordinate real general\n% note\n3 3 4\n1 1 0.5\n2 1 -1e3\n3 2 7\n3 3 1\n"
GRAPH = """{"name": "g", "tasks": [{"name": "t", "seconds": 1e-3, "reads": ["a"], "writes": ["b"]}],
"buffers": [{"name": "a", "bytes": 10}, {"name": "b", "bytes": "1 MiB"}],
"tiers": [{"name": "gpu", "capacity": "2 MiB", "write": "1 GB/s", "read": "1 GB/s"}], "given": ["a"], "kept": ["b"]}"""

FORMATS: dict[str, tuple[Callable[[], list[str]], Callable[[str, Path], object]]] = {
    "cascade": (_cascades, _cascade),
    "mapping": (lambda: [str(n) for n in NESTS], lambda text, _: parse_nest(text)),
    "device": (lambda: _texts("arch/data/devices/h*.toml", "arch/data/accelerators/*.toml"), on_file(device, ".toml")),
    "cluster": (lambda: _texts("arch/data/clusters/*.toml"), on_file(cluster, ".toml")),
    "prices": (lambda: _texts("arch/data/prices/*.toml"), on_file(lambda p: book(str(p)), ".toml")),
    "config": (lambda: [LLAMA], on_file(transformer.from_config, ".json")),
    "trace": (lambda: [AZURE], on_file(sim.trace, ".csv")),
    "trace of lines": (lambda: [MOONCAKE], on_file(sim.trace, ".jsonl")),
    "figures": (lambda: _texts("published/data/traces.toml", "published/data/moe_lens.toml"), on_file(paper, ".toml")),
    "architecture": (lambda: [example("interop", "yaml")], lambda text, _: convert(text)),
    "table of rows": (lambda: TABLES, on_file(lambda p: page(read(p)), ".json")),
    "table": (lambda: [SWEEP], on_file(lambda p: page(read(p)), ".csv")),
    "result": (lambda: [RESULT], _compared),
    "sparse mapping": (lambda: _texts("../mappings/data/*.toml"), on_file(sparse.read, ".toml")),
    "method": (lambda: _texts("planner/methods/*.toml"), on_file(method, ".toml")),
    "calibration": (lambda: _texts("arch/data/physical.toml"), on_file(lambda p: tier(str(p)), ".toml")),
    "trace summary": (lambda: [TRACE], on_file(sim.trace, ".toml")),
    "matrix": (lambda: [MARKET], on_file(matrices.read, ".mtx")),
    "graph": (lambda: [GRAPH], on_file(graphs.load, ".json")),
    "quantity": (lambda: ["80 GiB", "3.35 TB", "1_024 B"], lambda text, _: si(text, "B")),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_broken_file_is_read_or_refused(name: str, tmp_path: Path) -> None:
    refused = _tried(name, TRIES, os.environ.get("WEIR_FUZZ_SEED", "0"), tmp_path)
    assert refused > TRIES // 20, "hardly anything was broken"


def _tried(name: str, tries: int, seed: str, folder: Path) -> int:
    """How many broken files of a format are refused; the others are read."""
    texts, read = FORMATS[name]
    draw = random.Random(f"{name} {seed}")  # noqa: S311
    good = texts()
    assert good
    for text in good:
        read(text, folder)  # what is not broken is read
    signal.signal(signal.SIGVTALRM, _late)
    gc.freeze()  # what other tests left behind is not gone through while a file is timed
    try:
        return sum(_try(read, broken(draw.choice(good), draw), folder) for _ in range(tries))
    finally:
        gc.unfreeze()


def _try(read: Callable[[str, Path], object], text: str, folder: Path) -> bool:
    """Whether the reader refused the text; fails if it did anything else than that or read it, in time and memory."""
    began = time.process_time()
    said = None
    signal.setitimer(signal.ITIMER_VIRTUAL, 2 * SLOW)
    try:
        read(text, folder)
    except WeirError as error:
        said = str(error)
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error} from\n{text!r}") from error
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    assert time.process_time() - began < SLOW, f"took too long:\n{text!r}"
    assert said is None or 0 < len(said.strip()) < LONGEST, repr(text)
    return said is not None


FIRST = re.compile(r"(?<![\w.])\d[\d_.]*(?!\w)")  # a number


def numbered(number: str) -> Callable[[str], str]:
    """A good text with another first number."""
    return lambda text: FIRST.sub(number, text, count=1)


LAUGHS = "a: &a [x, x]\n" + "".join(f"b{n}: &b{n} [{', '.join([f'*b{n - 1}' if n else '*a'] * 9)}]\n" for n in range(9))
REFUSED: dict[str, Callable[[str], str]] = {
    "nothing": lambda _: "",
    "NUL": lambda text: text[: len(text) // 2] + "\0" + text[len(text) // 2 :],
    "a million brackets": lambda _: "[" * 10**6,
    "a million braces": lambda _: '{"a":' * 10**6,
    "nested braces": lambda _: "{a: " * 50_000,
    "a million parentheses": lambda _: "Z[m] = " + "(" * 10**6,
    "a chain of dots": lambda _: ".".join(["a"] * 10**5) + " = 1",
    "billion laughs": lambda _: LAUGHS,
    "a tag that runs code": lambda _: "a: !!python/object/apply:os.system ['true']\n",
    "a tower of powers": lambda _: "9**9**9",
    "UTF-16": lambda text: "".join(c + "\0" for c in text),
}
READ: dict[str, Callable[[str], str]] = {
    "a byte order mark": lambda text: "\ufeff" + text,
    "carriage returns": lambda text: text.replace("\n", "\r\n"),
    "no last newline": lambda text: text.rstrip("\n"),
}
EITHER: dict[str, Callable[[str], str]] = {
    "a million digits": numbered("9" * 10**6), "NaN": numbered("nan"), "infinity": numbered("inf"),
    "minus one": numbered("-1"), "zero": numbered("0"), "1e999": numbered("1e999"), "octal": numbered("010"),
    "twice": lambda text: text + "\n" + text, "tabs": lambda text: text.replace(" ", "\t"),
}  # fmt: skip
FREE = ("table", "calibration")  # any text is a table of one column; a calibration may change nothing
UNMARKED = ("cascade", "mapping", "architecture", "quantity", "matrix")  # not from files, or MatrixMarket


@pytest.mark.parametrize("bomb", [*REFUSED, *READ, *EITHER])
def test_named_bombs_do_nothing(bomb: str, tmp_path: Path) -> None:
    """What is known to bring readers down, given to each of them: refused, or read as what it means, in a second."""
    for name, (texts, reader) in FORMATS.items():
        refused = _try(reader, (REFUSED | READ | EITHER)[bomb](texts()[0]), tmp_path)
        assert refused or bomb not in REFUSED or name in FREE, name
        assert not refused or bomb not in READ or (bomb == "a byte order mark" and name in UNMARKED), name


def test_broken_files_end_no_process_and_take_little_memory() -> None:
    command = [sys.executable, __file__, str(TRIES // 5)]
    environment = {**os.environ, "PYTHONPATH": str(DATA.parent)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["format"] for one in found] == list(FORMATS)
    assert max(one["megabytes"] for one in found) < MEMORY


def _alone(tries: int, names: list[str]) -> None:
    """Broken files in this process, its memory and each input's time limited; one line of JSON for each format."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + ALLOWED, size + ALLOWED))
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            _tried(name, 1, "warm", Path(folder))
            before, began = _peak(), time.process_time()
            refused = _tried(name, tries, os.environ.get("WEIR_FUZZ_SEED", "alone"), Path(folder))
        spent = time.process_time() - began
        print(json.dumps({"format": name, "files": tries, "refused": refused, "seconds": round(spent, 1),
                          "megabytes": round(_peak() - before, 1)}), flush=True)  # fmt: skip


def _late(*_: object) -> None:
    raise AssertionError("took too long")


def _peak() -> float:
    """The most memory that this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    _alone(int(sys.argv[1]), sys.argv[2:] or list(FORMATS))
