"""Consent: what opts out in any export is a no, only an explicit yes opts in, everything else is no answer."""

from __future__ import annotations

import csv
import io
from datetime import date
from pathlib import Path

import pytest

from passbell.files.csv import read_members
from passbell.files.csv.consentnames import kind_of

CASES = Path(__file__).parent / "cases" / "01_optout_ignored"
TODAY = date(2026, 11, 21)

NO = {
    "Email Opt Out": "true",
    "Unsubscribed from all email": "TRUE",
    "do_not_email": "1",
    "Email Marketing Consent": "UNSUBSCRIBED",
    "Marketing consent": "NEVER_SUBSCRIBED",
    "UNSUB": "yes",
    "BOUNCE": "yes",
    "UNSUB_TIME": "2025-11-02 18:22:11",
    "UNSUB_REASON": "normal",
    "CLEAN_TIME": "2025-11-02 18:22:11",
    "unsubscribed_at": "2025-11-02",
    "Do Not Email": "X",
    "status": "cleaned",
    "Status": "Bounced",
    "STATUS": "unsubscribed",
    "Member status": "non-subscribed",
    "subscribed_to_emails": "false",
    "email_disabled": "true",
    "optOut": "true",
    "Email Subscription Status": "unsubscribed",
    "E-mail Subscription 1 - Status": "Opted out",
    "Accepts Marketing": "no",
    "Accepts Email Marketing": "FALSE",
    "Email permission status": "Opted-out",
    "Marketing status": "no consent",
    "Email": "",  # replaced below: any other column
    "Do not allow Emails": "Do Not Allow",
    "IsExcludedFromCampaigns": "true",
    "EMAIL_BLACKLISTED": "true",
    "HasOptedOutOfEmail": "TRUE",
    "Do Not Call": "1",
    "SMS Consent": "UNSUBSCRIBED",
    "State": "Unsubscribed",
    "Marketing opt-in": "transactional",
    "DSGVO-Einwilligung": "widerrufen",
    "Newsletter": "abgemeldet",
    "Werbesperre": "ja",
    "Consentement marketing": "non",
    "Désinscrit": "oui",
    "Acepta publicidad": "no",
    "Baja": "sí",
    "Consenso marketing": "No",
    "Aceita e-mails": "não",
    "Nieuwsbrief": "nee",
    "Uitgeschreven": "ja",
    "Nyhetsbrev": "Nej",
    "Nyhedsbrev": "afmeldt",
    "Samtykke": "nei",
    "Markkinointilupa": "ei",
    "Zgoda marketingowa": "NIE",
    "Souhlas s marketingem": "ne",
    "Bülten": "hay\u0131r",
    "メルマガ": "配信停止",
    "退订": "是",
    "الموافقة على التسويق": "لا",
    "אישור דיוור": "לא",
}
YES = {
    "Email Marketing Consent": "SUBSCRIBED",
    "Accepts Marketing": "yes",
    "status": "subscribed",
    "Newsletter": "ja",
    "Consentement marketing": "Oui",
    "Consenso marketing": "Sì",
    "Zgoda marketingowa": "TAK",
    "メルマガ": "配信可",
    "订阅": "是",
    "النشرة البريدية": "نعم",
    "דיוור": "כן",
    "Email permission status": "Express",
    "Marketing opt-in": "Yes, please send me offers",
}
UNANSWERED = {
    "Email Opt Out": "0",
    "optOut": "false",
    "UNSUB": "no",
    "BOUNCE": "no",
    "do_not_email": "",
    "Email Marketing Consent": "",
    "Marketing consent": "pending",
    "status": "active",
    "Status": "PASS_INSTALLED",
    "Email Subscription Status": "unknown",
    "Marketing contact status": "Marketing contact",
    "SMS Consent": "NEVER_SUBSCRIBED",
    "Accepts SMS Marketing": "yes",
    "Email permission status": "Implied",
    "OPTIN_TIME": "2025-11-02 18:22:11",
    "Email Marketing Consent Timestamp": "2025-01-01",
    "active_subscription": "true",
    "Do not allow Emails": "Allow",
    "Lead Status": "no",
}
del NO["Email"]


def _says(text: str) -> list[bool | None]:
    return [row.marketing_opt_in for row in read_members(io.BytesIO(text.encode()), today=TODAY)]


@pytest.mark.parametrize(("column", "value"), NO.items())
def test_an_opt_out_of_any_export_is_an_opt_out(column: str, value: str) -> None:
    """A member who unsubscribed, bounced, was cleaned or never subscribed is not opted in, in any of 18 languages."""
    assert _says(f"email,{column}\na@example.com,{value}\n") == [False]


@pytest.mark.parametrize(("column", "value"), YES.items())
def test_an_explicit_yes_opts_in(column: str, value: str) -> None:
    """A yes in a column that asks for consent is one."""
    assert _says(f'email,{column}\na@example.com,"{value}"\n') == [True]


@pytest.mark.parametrize(("column", "value"), UNANSWERED.items())
def test_what_is_no_explicit_yes_is_no_answer(column: str, value: str) -> None:
    """An empty box, a status of something else or another channel does not opt a member in."""
    assert _says(f"email,{column}\na@example.com,{value}\n") == [None]


@pytest.mark.parametrize(
    ("columns", "cells", "expected"),
    [
        ("Newsletter,Email Opt Out", "yes,true", False),
        ("Newsletter,Marketing consent", "yes,no", False),
        ("Newsletter,Marketing consent", "yes,", True),
        ("UNSUB,STATUS", "no,subscribed", True),
        ("Accepts Email Marketing,Accepts SMS Marketing", "yes,no", True),
        ("Accepts Email Marketing,SMS Consent", "yes,UNSUBSCRIBED", False),
        ("Accepts Email Marketing,Accepts SMS Marketing", ",no", False),
        ("Accepts Email Marketing,Tags", "yes,Unsubscribed", False),
    ],
)
def test_of_several_columns_any_no_wins(columns: str, cells: str, expected: bool) -> None:  # noqa: FBT001
    """A no in one column outweighs the yes of another; only the default of an SMS box does not."""
    assert _says(f"email,{columns}\na@example.com,{cells}\n") == [expected]


@pytest.mark.parametrize("file", sorted(CASES.glob("*.csv")), ids=lambda path: path.stem)
def test_the_opt_outs_that_were_imported_as_opted_in(file: Path) -> None:
    """Files that earlier versions read as opted in, although they say no, are read as a no."""
    assert [row.marketing_opt_in for row in read_members(file, today=TODAY)] == [False]


def test_a_word_that_is_not_known_answers_nothing_and_is_reported() -> None:
    """Consent is never guessed: the cell is named in the report."""
    (row,) = read_members(io.BytesIO(b"email,Marketing consent\na@example.com,maybe\n"), today=TODAY)
    assert row.marketing_opt_in is None
    assert row.reason == 'row 2: Marketing consent "maybe": this is neither yes nor no'


def test_the_report_says_how_many_answered_what() -> None:
    """Yes, no and no answer are counted, together and by column; a status of something else is not mentioned."""
    text = "email,Newsletter,UNSUB,Status\na@e.co,yes,no,gold\nb@e.co,yes,yes,gold\nc@e.co,,no,base\n"
    (note,) = read_members(io.BytesIO(text.encode()), today=TODAY).notes
    assert note == (
        'Consent: 1 yes, 1 no, 1 without an answer. By column: "Newsletter": 2 yes, 0 no, 1 without an answer; '
        '"UNSUB": 0 yes, 1 no, 2 without an answer.'
    )


FORMS = {
    "Möchten Sie unseren Newsletter erhalten?": ("Ja, gerne", "Nein, danke"),
    "Ich bin damit einverstanden, Werbung per E-Mail zu erhalten.": (None, "Nein"),
    "¿Desea recibir promociones por correo?": ("Sí", "No, gracias"),
    "Souhaitez-vous recevoir nos offres par e-mail ?": ("Oui", "Non, merci"),
    "Desidera ricevere offerte via email?": ("Sì", "Preferisco di no, non scrivetemi"),
    "Deseja receber novidades por e-mail?": ("Sim", "Não, obrigado"),
    "Czy wyrażasz zgodę na otrzymywanie newslettera?": ("Wyrażam zgodę", "Nie wyrażam zgody"),
    "メールマガジンの配信を希望しますか\uff1f": ("希望します", "希望しません"),
    "クーポンやお知らせの受け取り": ("はい", "受け取りません"),
    "Would you like to hear from us?": ("Yes please!", "No thank you"),
    "Can we send you offers?": ("Yes", "I'd rather not"),
    "Stay in touch": ("Yes, please", "Never contact me"),
    "Email Channel Status": ("Subscribed", "Non-subscribed"),
}


@pytest.mark.parametrize("question", FORMS)
def test_b2_questions_of_forms(question: str) -> None:
    """A form's question is a column of consent: a sentence that refuses is a no, a ticked box a yes."""
    yes, no = FORMS[question]
    for answer, expected in ((yes or question, True), (no, False), ("", None)):
        assert _says(f'email,"{question}"\na@example.com,"{answer}"\n') == [expected]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("Cleaned On", "2024-02-01"),
        ("Status", "junk"),
        ("Status", "removed"),
        ("Contact Status", "Do-Not-Mail"),
        ("Blocklisted", "Email"),
        ("DND", "true"),
        ("Please do NOT send me marketing", "Please do NOT send me marketing"),
    ],
)
def test_b2_other_exports_that_say_no(column: str, value: str) -> None:
    """Squarespace, MailerLite, GetResponse, Zoho, Brevo and forms: who left stays out."""
    assert _says(f"email,{column}\na@example.com,{value}\n") == [False]


def test_b2_never_subscribed_to_texts_does_not_outweigh_a_yes_to_mail() -> None:
    """Omnisend writes nonSubscribed for everybody without a phone; beside "subscribed" it is no answer."""
    rows = "a@example.com,subscribed,nonSubscribed\nb@example.com,nonSubscribed,subscribed\n"
    assert _says(f"email,emailStatus,smsStatus\n{rows}") == [True, False]


def test_b2_consent_to_be_measured_is_none_to_be_written_to() -> None:
    """Campaign Monitor's "Consent to track: Yes" opts no member in."""
    assert _says("email,Consent to track\na@example.com,Yes\n") == [None]


def _table(name: str) -> list[tuple[str, list[str]]]:
    lines = (Path(__file__).parent / name).read_text("utf-8").splitlines()
    return [
        (head, words.split("|"))
        for head, _, words in (line.partition(": ") for line in lines if line[0] != "#")
    ]


@pytest.mark.parametrize(("want", "names"), _table("consentnames.txt"), ids=lambda value: str(value)[:30])
def test_a_name_of_a_column_says_whether_a_tick_is_a_yes_or_a_no(want: str, names: list[str]) -> None:
    """A withdrawal, a block or a refusal in the name makes a tick a no, in any language, whatever else it says."""
    kinds = {name: str(kind_of(name)).partition("_")[0] for name in names}
    # "status" answers by its words alone, whatever the name is.
    assert {name: kind for name, kind in kinds.items() if kind not in {want, "status"}} == {}


@pytest.mark.parametrize(("head", "cells"), _table("consentcells.txt"), ids=lambda value: str(value)[:30])
def test_a_cell_says_yes_or_no_or_nothing(head: str, cells: list[str]) -> None:
    """Refusals in the words of many tools are a no; "No response", a date or a number is no answer."""
    column, _, want = head.rpartition(" = ")
    text = io.StringIO()
    csv.writer(text).writerows(
        [("email", column), *((f"a{at}@example.com", cell) for at, cell in enumerate(cells))]
    )
    said = dict(zip(cells, _says(text.getvalue()), strict=True))
    expected = {"yes": True, "no": False, "-": None}[want]
    assert {cell: says for cell, says in said.items() if says is not expected} == {}
