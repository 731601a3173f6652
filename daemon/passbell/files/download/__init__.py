"""Download of a CSV file by URL, safe against server-side request forgery.

    policy = FetchPolicy(hosts=settings.csv_hosts, allow_private=settings.csv_allow_private)
    with tempfile.TemporaryFile() as file:
        done = await download(campaign.csv_upload_url, file, policy)

The link comes from a form, so the daemon must not become the form's way into the operator's network:

* `https` on port 443, to a public address. `allow_private` adds http, loopback, private and carrier-grade NAT
  addresses, and any port, but never a cloud's metadata service.
* A host is a plain name or an IP address in its proper spelling. Everything clever is refused, not decoded.
* A name is resolved once; all its addresses must be allowed; the connection goes to one of them (no
  rebinding).
* Every redirect starts again at the first rule, and never goes from https to http.
* The allow-list `hosts` also holds for redirects. docs.google.com, drive.google.com and dropbox.com imply the
  hosts where Google and Dropbox keep the bytes (googleusercontent.com, dropboxusercontent.com), as the target
  of their own redirects only.
* Bytes (declared, transferred, unpacked), redirects and total time are capped.

The errors are sentences for `status_detail`.
"""

from passbell.files.download.download import Downloaded, download
from passbell.files.download.errors import FetchError, FetchFailed, FetchRefused
from passbell.files.download.links import direct_link
from passbell.files.download.policy import FetchPolicy

__all__ = [
    "Downloaded",
    "FetchError",
    "FetchFailed",
    "FetchPolicy",
    "FetchRefused",
    "direct_link",
    "download",
]
