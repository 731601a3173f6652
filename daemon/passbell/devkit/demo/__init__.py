"""What the demo needs and a production installation does not: a private PostgreSQL, generated members."""
