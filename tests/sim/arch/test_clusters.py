from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from einsum.errors import WeirError
from sim.arch import cluster, cluster_names, default_network, device, device_names

WHOLE = """
title = "Toy"
source = "invented for this test"
node_size = 2

[[pool]]
name = "model"
device = "h100"
count = 4
set = { "hbm.capacity" = "40 GB", "tensor.device_rate.mac.bf16" = "500 TFLOP/s" }

[network]
bandwidth = "100 Gb/s"
latency = "5 us"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "toy.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_one_pool_is_the_model() -> None:
    found = cluster("4xh100")
    assert [(p.name, p.device.name, p.count) for p in found.pools] == [("model", "h100_sxm", 4)]
    assert found.devices == 4
    assert found.title == "4 x NVIDIA H100 SXM5 80 GB"


@pytest.mark.parametrize("text", ["2xh100_4xh20", "2xh100+4xh20", "2xh100_sxm_4xh20", "2xh100_sxm+4xh20_sxm"])
def test_two_pools_are_the_model_and_the_attention(text: str) -> None:
    found = cluster(text)
    assert [(p.name, p.device.name, p.count) for p in found.pools] == [
        ("model", "h100_sxm", 2),
        ("attention", "h20", 4),
    ]
    assert found.devices == 6


@given(
    first=st.tuples(st.integers(1, 100_000), st.sampled_from(device_names())),
    second=st.tuples(st.integers(1, 100_000), st.sampled_from(device_names())),
    joint=st.sampled_from("_+"),
)
def test_any_two_pools_are_read_as_written(first: tuple[int, str], second: tuple[int, str], joint: str) -> None:
    found = cluster(f"{first[0]}x{first[1]}{joint}{second[0]}x{second[1]}")
    assert [(p.count, p.device.name) for p in found.pools] == [first, second]


def test_the_default_network_is_assumed_aloud() -> None:
    found = cluster("2xh100_4xh20")
    assert found.network.bandwidth == 50e9
    assert found.network.latency == pytest.approx(33e-6 / 2)
    assert found.source == f"network assumed: {default_network()[2]}"
    assert "400 Gb/s" in found.source


@pytest.mark.parametrize(
    ("text", "ways", "link"),
    [
        ("16xh100", 8, "nvlink"),
        ("16xh100", 9, "network"),
        ("16xl40s", 8, "pcie"),  # no fabric of its own
        ("16xl40s", 16, "network"),
        ("8xa100_pcie", 2, "nvlink"),  # bridges join pairs
        ("8xa100_pcie", 4, "pcie"),
        ("72xgb200", 72, "nvlink"),  # a domain larger than the usual node
    ],
)
def test_devices_talk_over_the_nearest_link_that_reaches(text: str, ways: int, link: str) -> None:
    assert cluster(text).pool("model").link(ways).name == link


@pytest.mark.parametrize(
    ("devices", "node", "span", "groups", "inside"),
    [
        (16, 8, 8, 2, True),
        (16, 4, 8, 2, False),
        (16, 8, 6, 2, True),  # one on each node, two devices of which stay idle
        (12, 8, 6, 2, False),  # eight and four: one of them is on both
        (12, 8, 6, 1, True),
        (12, 8, 4, 3, True),
        (15, 8, 3, 4, True),
        (15, 8, 3, 5, False),
    ],
)
def test_groups_stay_inside_nodes_that_have_room_for_all_of_them(
    devices: int, node: int, span: int, groups: int, inside: bool
) -> None:
    [pool] = cluster(f"{devices}xh100").with_("model.node_size", node).pools
    assert (pool.link(span, groups).scope == "node") == inside


@pytest.mark.parametrize("name", cluster_names())
def test_every_shipped_cluster_loads(name: str) -> None:
    found = cluster(name)
    assert found.name == name
    assert found.pools[0].name == "model"
    assert found.source


def test_lamina_by_hand() -> None:
    found = cluster("lamina_2_4")
    assert [(p.device.name, p.count) for p in found.pools] == [("h100_sxm", 2), ("h20", 4)]
    assert 2 * found.network.latency == pytest.approx(33.0e-6)
    assert 2 * cluster("lamina_vllm_4").network.latency == pytest.approx(66.6e-6)


def test_moe_lens_limits_its_devices() -> None:
    found = cluster("moe_lens")
    assert found.get("model.gddr.capacity") == 24e9
    assert found.get("attention.dram.bandwidth") == 150e9
    assert device("a40").capacity == 48e9
    assert found.network.bandwidth == 19.5e9
    assert found.pool("model").link(2) is found.network


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    found = cluster(write(tmp_path, WHOLE))
    assert found == cluster(str(tmp_path / "toy.toml"))
    assert found.pool("model").device.capacity == 40e9
    assert found.pool("model").device.rate("mac", "bf16") == pytest.approx(500e12)
    assert found.pool("model").link(2).name == "nvlink"
    assert found.pool("model").link(4).bandwidth == 12.5e9


def test_a_file_without_a_network_says_what_it_assumes(tmp_path: Path) -> None:
    found = cluster(write(tmp_path, WHOLE.partition("[network]")[0]))
    assert found.network == default_network()[0]
    assert "network assumed" in found.source


def test_a_device_with_its_own_network_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "nic.toml").write_text(
        'title = "t"\nvendor = "v"\narchitecture = "a"\nyear = 2026\nsource = "s"\n'
        '[[memory]]\nname = "hbm"\ncapacity = "1 GB"\n'
        '[[compute]]\nname = "core"\nrate.mac.bf16 = "1 TFLOP/s"\n'
        '[[link]]\nname = "nic"\nscope = "network"\nbandwidth = "1 GB/s"\n'
    )
    text = WHOLE.partition("set =")[0].replace('"h100"', f'"{tmp_path / "nic.toml"}"')
    found = cluster(write(tmp_path, text)).with_("network.bandwidth", "2 GB/s")
    assert found.pool("model").link(4).bandwidth == 1e9
    assert found.network.bandwidth == 2e9


@pytest.mark.parametrize(
    ("path", "value", "number"),
    [
        ("model.hbm.bandwidth", "5 TB/s", 5e12),
        ("attention.memory.capacity", "141 GB", 141e9),
        ("network.bandwidth", "800 Gb/s", 100e9),
        ("network.latency", "1 us", 1e-6),
        ("attention.count", 6, 6.0),
        ("model.node_size", 4, 4.0),
        ("model.nvlink.latency", "1 us", 1e-6),
    ],
)
def test_any_number_can_be_changed(path: str, value: str | float, number: float) -> None:
    whole = cluster("2xh100_4xh20")
    changed = whole.with_(path, value)
    assert changed.get(path) == pytest.approx(number)
    assert changed.with_(path, whole.get(path)) == whole


def test_a_changed_network_is_the_pools_network() -> None:
    changed = cluster("16xh100").with_("network.bandwidth", "100 GB/s")
    assert changed.pool("model").link(16).bandwidth == 100e9


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("model.hbm.bandwith", 1.0, "unknown path 'model.hbm.bandwith'; did you mean 'model.hbm.bandwidth'?"),
        ("modle.count", 1, "did you mean 'model.count'?"),
        ("network", 1, "unknown path 'network'"),
        ("model.count", 0, "2xh100_4xh20 model.count: 0 is zero"),
        ("model.count", 100_001, "100001 devices; a pool has at most 100000"),
        ("network.bandwidth", "1 GB", "2xh100_4xh20 network.bandwidth: '1 GB' has the wrong unit"),
        ("network.latency", "-1 us", "negative"),
    ],
)
def test_a_change_that_means_nothing_is_refused(path: str, value: str | float, message: str) -> None:
    with pytest.raises(WeirError) as caught:
        cluster("2xh100_4xh20").with_(path, value)
    assert message in str(caught.value)


def test_a_device_alone_is_one_of_it() -> None:
    assert cluster("h100").pools == cluster("1xh100").pools
    assert cluster("h100+4xh20").pools == cluster("1xh100_4xh20").pools


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2xh1000", "cluster '2xh1000': unknown device 'h1000'; did you mean 'h100'?"),
        ("2xh100_4xh2", "cluster '2xh100_4xh2': unknown device 'h2'"),
        ("0xh100", "cluster '0xh100': 0 x h100: a pool has 1 to 100000 devices"),
        ("100001xh100", "a pool has 1 to 100000 devices"),
        ("9" * 150 + "xh100", "a pool has 1 to 100000 devices"),
        ("-1xh100", "unknown cluster '-1xh100'; write <n>x<device>, for example 2xh100_4xh20"),
        ("h1000", "unknown cluster 'h1000'; write <n>x<device>"),
        ("1.5xh100", "unknown cluster '1.5xh100'"),
        ("", "unknown cluster ''"),
        ("2xh100+", "unknown cluster '2xh100+'"),
        ("2xh100__4xh20", "cluster '2xh100__4xh20': unknown device 'h100_'; did you mean 'h100'?"),
        ("1xh100+1xh20+1xa100", "has 3 pools; write at most two, or describe it in a .toml file"),
        ("lamina_24", "unknown cluster 'lamina_24'; did you mean 'lamina_2_4'?"),
        ("none.toml", "no such cluster file: none.toml"),
    ],
)
def test_an_unreadable_cluster_is_refused(text: str, message: str) -> None:
    with pytest.raises(WeirError) as caught:
        cluster(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'device = "h100"',
            'device = "h101"',
            "pool.model.device: unknown device 'h101'; did you mean 'h100'?",
        ),
        ('device = "h100"', "", "pool.model.device: is missing"),
        ('device = "h100"', "device = 3", "pool.model.device: must be text, not 3"),
        ("count = 4", "count = -4", "pool.model.count: -4 is negative"),
        ("count = 4", "", "pool.model.count: is missing"),
        ("count = 4", "cuont = 4", "pool.model.cuont: unknown key; did you mean 'count'?"),
        (
            "hbm.capacity",
            "hmb.capacity",
            "pool.model.set.'hmb.capacity': h100_sxm: unknown path 'hmb.capacity'; did you mean",
        ),
        ('"40 GB"', '"40 G"', "pool.model.set.'hbm.capacity': h100_sxm hbm.capacity: '40 G' is ambiguous"),
        ('"model"', '"network"', "pool: pool names must differ from each other and from 'network'"),
        ("[[pool]]", "[[pole]]", "pool: at least one [[pool]] is needed"),
        ("[network]", "[netwrok]", "netwrok: unknown key; did you mean 'network'?"),
        ('bandwidth = "100 Gb/s"', "", "network.bandwidth: is missing"),
        ('"5 us"', '"5 GB"', "network.latency: '5 GB' has the wrong unit"),
        ("node_size = 2", "node_size = 0", "node_size: 0 is zero"),
        ("set = {", "set = 3 # {", "pool.model.set: expected a table"),
    ],
)
def test_a_malformed_file_is_refused_in_words(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in WHOLE
    with pytest.raises(WeirError) as caught:
        cluster(write(tmp_path, WHOLE.replace(old, new, 1)))
    assert message in str(caught.value)


def test_an_unknown_pool_is_refused() -> None:
    with pytest.raises(WeirError, match=r"2xh100_4xh20: unknown pool 'atention'; did you mean 'attention'\?"):
        cluster("2xh100_4xh20").pool("atention")
