"""`openssl rand -hex N`, which is all that the documents use of it."""

from __future__ import annotations

import secrets
import sys

assert sys.argv[1:3] == ["rand", "-hex"], sys.argv
print(secrets.token_hex(int(sys.argv[3])))  # noqa: T201
