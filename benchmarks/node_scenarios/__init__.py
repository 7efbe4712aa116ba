"""What benchmarks/node.py puts the node through."""
