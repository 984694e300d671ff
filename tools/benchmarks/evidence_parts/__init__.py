"""What tools/benchmarks/evidence.py is made of."""
