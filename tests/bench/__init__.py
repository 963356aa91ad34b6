"""Benchmarks: ours and its anchor side by side in one run (`make bench`)."""
