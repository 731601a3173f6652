"""passbell rings the lock screen of wallet passes.

It takes campaigns from a PostgreSQL (Supabase) database and hands them to PassKit, one update per pass.
The rules live in SQL (`sql/`); this package moves bytes. docs/architecture.md explains how they meet.
"""

__all__ = ["__version__"]

__version__ = "1.0.0"
