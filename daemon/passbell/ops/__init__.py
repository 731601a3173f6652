"""What an operator sees of a running daemon: metrics, liveness, readiness; and the daily pruning of old rows."""
