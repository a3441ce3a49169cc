"""What the provider costs, side by side with its peers: ``python -m benchmarks`` prints one table."""
