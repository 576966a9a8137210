"""Benchmarks: us beside our peers, each pair alternating in one run."""
