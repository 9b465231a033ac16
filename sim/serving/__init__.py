"""Requests, batching and traces: from step times to latency percentiles and throughput per dollar."""
