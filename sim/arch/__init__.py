"""Components, devices, clusters and prices, as data."""

from __future__ import annotations

from sim.arch.architecture import Device, bits
from sim.arch.boards import power_tested
from sim.arch.clusters import Cluster, Pool, cluster, cluster_names, default_network
from sim.arch.components import OPERATIONS, Compute, Fanout, Link, Memory, Power
from sim.arch.devices import accelerator_names, canonical, device, device_aliases, device_names
from sim.arch.prices import Book, Price, Prices, book, books, choose_book, price, price_range
from sim.arch.tiers import Constants, Tested, Tier, tier, tier_names

__all__ = [
    "OPERATIONS",
    "Book",
    "Cluster",
    "Compute",
    "Constants",
    "Device",
    "Fanout",
    "Link",
    "Memory",
    "Pool",
    "Power",
    "Price",
    "Prices",
    "Tested",
    "Tier",
    "accelerator_names",
    "bits",
    "book",
    "books",
    "canonical",
    "choose_book",
    "cluster",
    "cluster_names",
    "default_network",
    "device",
    "device_aliases",
    "device_names",
    "power_tested",
    "price",
    "price_range",
    "tier",
    "tier_names",
]
