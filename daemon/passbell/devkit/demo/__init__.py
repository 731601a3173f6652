"""The show of `passbell demo`: generated members, orders, a daemon that is killed, and an audit of who was buzzed."""
