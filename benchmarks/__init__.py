"""What the performance claims are measured with: `make bench`, see docs/benchmarks.md."""
