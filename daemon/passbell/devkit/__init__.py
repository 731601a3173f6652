"""What tries passbell without an account or a database; no other part of the program imports it.

`sandbox` is a local PassKit with phones. `postgres` and `binaries` run a private PostgreSQL server, `people` invents
members, `demo` is the show of `passbell demo`. The only dependency of its own is the server in the extra `demo`.
"""
