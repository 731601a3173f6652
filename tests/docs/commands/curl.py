"""`curl` as far as the documents use it: -s, -X, -H, -d, -F.

An answer from 400 on is an error, and a server that is just being started is waited for.
"""

from __future__ import annotations

import argparse
import ssl
import sys
import time
from pathlib import Path

import httpx

PATIENCE = 20.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="curl")
    parser.add_argument("url")
    parser.add_argument("-s", action="store_true")
    parser.add_argument("-X", dest="method")
    parser.add_argument("-H", dest="headers", action="append", default=[])
    parser.add_argument("-d", dest="data")
    parser.add_argument("-F", dest="form", action="append", default=[])
    given = parser.parse_args()
    url = given.url if "://" in given.url else f"http://{given.url}"
    headers = dict(header.split(": ", 1) for header in given.headers)
    fields, files = {}, {}
    for part in given.form:
        name, _, value = part.partition("=")
        if value.startswith("@"):
            files[name] = (value[1:], Path(value[1:]).read_bytes())
        else:
            fields[name] = value
    sends = given.data is not None or bool(given.form)
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            answer = httpx.request(
                given.method or ("POST" if sends else "GET"),
                url,
                headers=headers,
                content=given.data,
                data=fields or None,
                files=files or None,
                trust_env=False,
                timeout=PATIENCE,
                verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # all servers are ours, without TLS
            )
        except httpx.ConnectError:
            if time.monotonic() > deadline:
                sys.exit(f"curl: no server listens at {url}")
            time.sleep(0.1)
        else:
            break
    print(answer.text)  # noqa: T201
    if answer.status_code >= 400:
        sys.exit(f"curl: {answer.status_code}")


main()
