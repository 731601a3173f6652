"""PassKit over REST: tell one pass something, read what many passes hold, ask whether PassKit is up.

The rooms, from the outside in:

* `client`: `PassKit`, what the daemon holds for an account. One request: rate slot, token, bytes, verdict.
* `records`: reading many `metaData` maps with few requests.
* `recipient`: which endpoint and which identifiers belong to a pass.
* `templates`: which designs a program's passes use, and whether they ring.
* `answers`: what a status code means for the pass and for the account.
* `credentials`: tokens that PassKit accepts, also with a wrong clock on our side.
* `transport`: which HTTP client is used, or the dry run, which sends nothing. `wire`: the interface that
  `over_httptools` and `over_httpx` share.

Nothing here retries a failed update, keeps a rate or raises for HTTP trouble: every call returns an `Answer` and the
daemon decides. Each request is made for a `Caller` (in `wire`), an argument: it says when the request may leave.
Programs that keep no rate leave it out.
"""

from passbell.passkit.answers import Answer, Verdict
from passbell.passkit.client import PassKit
from passbell.passkit.credentials import Credentials
from passbell.passkit.recipient import Recipient
from passbell.passkit.wire import Transport

__all__ = ["Answer", "Credentials", "PassKit", "Recipient", "Transport", "Verdict"]
