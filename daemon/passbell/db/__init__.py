"""Everything that talks to PostgreSQL: the schema, the pool, the calls to the SQL functions, LISTEN."""
