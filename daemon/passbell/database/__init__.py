"""Everything that talks to PostgreSQL: the schema, the pool, the calls to the SQL functions, LISTEN."""

import os

# A database or a role may have another DateStyle, in which the driver cannot read times. libpq sends this with every
# connection, and a transaction pooler keeps it; a SET would stay behind in the pooler's own session.
os.environ["PGDATESTYLE"] = "ISO"
