"""Scenarios of benchmarks/node.py: each sends series to a running node and checks what it does."""
