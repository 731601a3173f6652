"""Share links, the allow-list, and what is shown of a link."""

from __future__ import annotations

import ssl

import httpx
import pytest

from passbell.files.download import FetchFailed, FetchPolicy, FetchRefused, direct_link
from passbell.files.download.links import check_link, redact

SHEET = "1AbCdEfGhIjKlMnOpQrStUvWxYz0123456789-_abcde"
EXPORT = f"https://docs.google.com/spreadsheets/d/{SHEET}/export?format=csv"
PUBLISHED = "2PACX-1vQabcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize(
    ("link", "direct"),
    [
        # Google Sheets, as the browser, the share button, phones and publishing give them
        (f"https://docs.google.com/spreadsheets/d/{SHEET}/edit?usp=sharing", EXPORT),
        (f"https://docs.google.com/spreadsheets/d/{SHEET}/edit#gid=0", f"{EXPORT}&gid=0"),
        (f"https://docs.google.com/spreadsheets/d/{SHEET}/edit?gid=77#gid=123", f"{EXPORT}&gid=123"),
        (f"https://docs.google.com/spreadsheets/d/{SHEET}/edit?gid=77", f"{EXPORT}&gid=77"),
        (f"https://docs.google.com/spreadsheets/d/{SHEET}/edit#gid=0&range=A1:B9", f"{EXPORT}&gid=0"),
        (f"https://docs.google.com/spreadsheets/d/{SHEET}/edit#gid=abc", EXPORT),
        (f"https://docs.google.com/spreadsheets/d/{SHEET}", EXPORT),
        (f"https://docs.google.com/spreadsheets/d/{SHEET}/", EXPORT),
        (f"https://docs.google.com/spreadsheets/d/{SHEET}/view", EXPORT),
        (f"https://docs.google.com/spreadsheets/d/{SHEET}/htmlview#gid=5", f"{EXPORT}&gid=5"),
        (f"https://docs.google.com/spreadsheets/u/1/d/{SHEET}/edit#gid=9", f"{EXPORT}&gid=9"),
        (f"https://docs.google.com/a/example.com/spreadsheets/d/{SHEET}/edit#gid=9", f"{EXPORT}&gid=9"),
        (
            f"https://docs.google.com/spreadsheets/d/{SHEET}/edit?resourcekey=0-abc",
            f"{EXPORT}&resourcekey=0-abc",
        ),
        (f"https://docs.google.com/spreadsheets/d/{SHEET}/export?format=csv&gid=4", f"{EXPORT}&gid=4"),
        (
            f"https://docs.google.com/spreadsheets/d/e/{PUBLISHED}/pubhtml?gid=3&single=true",
            f"https://docs.google.com/spreadsheets/d/e/{PUBLISHED}/pub?output=csv&gid=3&single=true",
        ),
        (
            f"https://docs.google.com/spreadsheets/d/e/{PUBLISHED}/pubhtml",
            f"https://docs.google.com/spreadsheets/d/e/{PUBLISHED}/pub?output=csv",
        ),
        (
            f"https://docs.google.com/spreadsheets/d/e/{PUBLISHED}/pub?output=csv",
            f"https://docs.google.com/spreadsheets/d/e/{PUBLISHED}/pub?output=csv",
        ),
        # Google Drive
        (
            f"https://drive.google.com/file/d/{SHEET}/view?usp=sharing",
            f"https://drive.google.com/uc?export=download&id={SHEET}",
        ),
        (
            f"https://drive.google.com/open?id={SHEET}",
            f"https://drive.google.com/uc?export=download&id={SHEET}",
        ),
        (
            f"https://drive.google.com/uc?id={SHEET}",
            f"https://drive.google.com/uc?export=download&id={SHEET}",
        ),
        ("https://drive.google.com/drive/folders/abc", "https://drive.google.com/drive/folders/abc"),
        # Dropbox
        ("https://www.dropbox.com/s/abc123/list.csv?dl=0", "https://www.dropbox.com/s/abc123/list.csv?dl=1"),
        ("https://www.dropbox.com/s/abc123/list.csv", "https://www.dropbox.com/s/abc123/list.csv?dl=1"),
        (
            "https://www.dropbox.com/scl/fi/abc/list.csv?rlkey=k1&st=s&dl=0",
            "https://www.dropbox.com/scl/fi/abc/list.csv?rlkey=k1&st=s&dl=1",
        ),
        # Supabase Storage and everybody else: as they are
        *(
            (link, link)
            for link in (
                "https://abc.supabase.co/storage/v1/object/public/lists/vip%20list.csv",
                "https://abc.supabase.co/storage/v1/object/sign/lists/vip.csv?token=eyJhbGciOi.J9.x-_y",
                "https://abc.supabase.co/storage/v1/object/public/lists/vip.csv?download=vip.csv",
                "https://files.example.com/spreadsheets/d/1AbCdEfGhIjKlMnOp/edit?a=1&a=2&b=%2F+c",
                "https://docs.google.com.example.com/spreadsheets/d/1AbCdEfGhIjKlMnOp/edit",
                "https://docs.google.com/document/d/1AbCdEfGhIjKlMnOp/edit",
            )
        ),
    ],
)
def test_a_share_link_becomes_a_download_link(link: str, direct: str) -> None:
    """What people copy from the browser gives the file, and a download link stays as it is."""
    found = direct_link(httpx.URL(link))
    assert str(found).partition("?")[0] == direct.partition("?")[0]
    assert sorted(found.params.multi_items()) == sorted(httpx.URL(direct).params.multi_items())
    assert str(direct_link(found)) == str(found)
    if link == direct:
        assert str(found) == link


def test_a_link_pasted_with_its_surroundings_is_understood() -> None:
    """Spaces, line ends, no-break spaces and a byte order mark around a link do no harm."""
    link = "\ufeff \t https://Files.Example.com./list.csv?a=b#top\u00a0\u200b\r\n"
    target = check_link(link, FetchPolicy())
    assert str(target.url) == "https://files.example.com/list.csv?a=b"
    assert target.host == "files.example.com"


def test_a_name_in_other_letters_is_understood() -> None:
    """An internationalised name is asked for in its ASCII form."""
    assert check_link("https://müller.example/liste.csv", FetchPolicy()).host == "xn--mller-kva.example"


@pytest.mark.parametrize(
    "link",
    [
        "",
        "   ",
        "list.csv",
        "files.example.com/list.csv",
        "//files.example.com/list.csv",
        "http://files.example.com/list.csv",
        "ftp://files.example.com/list.csv",
        "file:///etc/passwd",
        "https:files.example.com",
        "https:///127.0.0.1/list.csv",
        "https://files.example.com/a list.csv",
        "https://files.example.com/\r\nHost: x",
        "https://files.example.com:0x1bb/",
        "https://files.example.com:99999/",
        "https://files.example.com:-1/",
        "https://a.com https://b.com",
        "https://" + "a" * 300 + ".com/",
        "https://" + "a" * 64 + ".com/",
        "https://files.example.com/" + "a" * 9000,
        "https://user:secret@files.example.com/list.csv",
    ],
)
def test_what_is_no_https_link_is_refused(link: str) -> None:
    """Anything but one https link is refused with a sentence that repeats nothing secret."""
    with pytest.raises(FetchRefused) as refused:
        check_link(link, FetchPolicy())
    sentence = str(refused.value)
    assert sentence.endswith(".")
    assert "secret" not in sentence
    assert len(sentence) < 200


@pytest.mark.parametrize(
    ("hosts", "host", "named"),
    [
        ((), "anything.example.com", True),
        (("files.example.com",), "files.example.com", True),
        ((" Files.Example.COM. ",), "files.example.com", True),
        (("files.example.com",), "other.example.com", False),
        (("files.example.com",), "a.files.example.com", False),
        (("files.example.com",), "evilfiles.example.com", False),
        (("files.example.com",), "files.example.com.evil.org", False),
        (("*.example.com",), "files.example.com", True),
        (("*.example.com",), "a.b.example.com", True),
        (("*.example.com",), "example.com", False),
        (("*.example.com",), "evilexample.com", False),
        (("a.org", "*.supabase.co"), "abc.supabase.co", True),
        (("müller.example",), "xn--mller-kva.example", True),
        (("93.184.215.14",), "93.184.215.14", True),
        (("docs.google.com",), "doc-0s-sheets.googleusercontent.com", False),
    ],
)
def test_the_allow_list_names_hosts(hosts: tuple[str, ...], host: str, named: bool) -> None:  # noqa: FBT001
    """Exact names and `*.` for everything below; nothing matches by accident."""
    policy = FetchPolicy(hosts=hosts)
    if named:
        assert check_link(f"https://{host}/list.csv", policy).host == host
    else:
        with pytest.raises(FetchRefused, match=host):
            check_link(f"https://{host}/list.csv?token=hush", policy)


def test_a_service_on_the_allow_list_may_redirect_to_its_own_store() -> None:
    """docs.google.com alone is enough for Google Sheets; its store is not open to direct links."""
    policy = FetchPolicy(hosts=("docs.google.com",))
    store = "https://doc-0s-sheets.googleusercontent.com/export/x"
    trail = [httpx.URL(EXPORT)]
    assert check_link(store, policy, trail).host == "doc-0s-sheets.googleusercontent.com"
    with pytest.raises(FetchRefused):
        check_link(store, policy)
    with pytest.raises(FetchRefused):
        check_link("https://googleusercontent.com.example.org/", policy, trail)
    with pytest.raises(FetchRefused):
        check_link(
            store, FetchPolicy(hosts=("files.example.com",)), [httpx.URL("https://files.example.com/")]
        )


def test_the_allow_list_does_not_open_private_networks() -> None:
    """A listed host with a private address is refused."""
    with pytest.raises(FetchRefused, match="private"):
        check_link("https://10.0.0.5/list.csv", FetchPolicy(hosts=("10.0.0.5",)))


def test_a_redirect_to_a_sign_in_page_is_explained() -> None:
    """A sheet that is not shared says so, instead of "HTML instead of CSV" or "host not allowed"."""
    with pytest.raises(FetchFailed, match="anyone with the link"):
        check_link(
            "https://accounts.google.com/ServiceLogin?continue=x",
            FetchPolicy(hosts=("docs.google.com",)),
            [httpx.URL(EXPORT)],
        )


@pytest.mark.parametrize(
    "hosts",
    [
        ("",),
        ("*",),
        ("*.",),
        ("**.example.com",),
        ("a.*.com",),
        ("https://a.com",),
        ("a.com/x",),
        ("a.com:443",),
    ],
)
def test_a_wrong_allow_list_is_noticed_at_the_start(hosts: tuple[str, ...]) -> None:
    """A typing error in PASSBELL_CSV_HOSTS does not end up as "everything is allowed"."""
    with pytest.raises(ValueError, match="host"):
        FetchPolicy(hosts=hosts)


def test_a_policy_cannot_switch_verification_off() -> None:
    """There is no setting with which certificates are not checked."""
    context = ssl.create_default_context()
    context.check_hostname = False
    with pytest.raises(ValueError, match="verify"):
        FetchPolicy(tls=context)
    context.verify_mode = ssl.CERT_NONE
    with pytest.raises(ValueError, match="verify"):
        FetchPolicy(tls=context)
    with pytest.raises(ValueError, match="positive"):
        FetchPolicy(max_bytes=0)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://abc.supabase.co/storage/v1/a.csv?token=hush", "https://abc.supabase.co/storage/v1/a.csv?…"),
        (f"{EXPORT}#gid=1", "https://docs.google.com/spreadsheets/d/1AbC…/export?…"),
        ("https://u:p@files.example.com/a.csv", "https://files.example.com/a.csv"),
        ("https://[2606:4700::1111]:8443/a.csv", "https://[2606:4700::1111]:8443/a.csv"),
    ],
)
def test_a_shown_link_does_not_open_the_file(url: str, shown: str) -> None:
    """Logs and reports hold enough to recognise a link, and too little to use it."""
    assert redact(httpx.URL(url)) == shown
