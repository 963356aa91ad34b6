"""Kubernetes' own semantics and documents. Pure: no I/O, no clock, no Flask."""
