"""Measures throughput and latency: `python -m benchmarks`, or `make bench`."""
