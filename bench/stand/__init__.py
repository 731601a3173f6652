"""The test stand: what the benchmarks share. A sink, a PostgreSQL, other queues, and what processes cost."""
