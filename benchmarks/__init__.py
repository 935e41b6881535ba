"""Benchmarks: each scenario measures us beside a baseline in the same run."""
