"""Writes the nasty files of this folder, byte for byte. After a change run it and expect.py, and review.

Each case: file name, how it is read (`ids`, or `members` with region and date setting), what is nasty
about it, its bytes.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent


class Case(NamedTuple):
    name: str
    how: str
    nasty: str
    content: bytes


def _zip(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(
                zipfile.ZipInfo(name), b"<xml/>" if name.endswith("xml") else b"email\na@example.com\n"
            )
    return out.getvalue()


def _lines(*lines: str, end: str = "\n") -> str:
    return "".join(line + end for line in lines)


def _column(name: str, *cells: str) -> bytes:
    rows = (f'm{number}@example.com,"{cell}"' for number, cell in enumerate(cells, start=1))
    return _lines(f"email,{name}", *rows).encode()


def _dates(*cells: str, name: str = "birth_date") -> bytes:
    return _column(name, *cells)


_ZOE = _lines("email,first_name,city", "zoe@example.com,Zoë,Zürich", "li@example.com,李,北京")
_JOERG = _lines("E-Mail;Vorname;Nachname;PLZ;Ort", "joerg@example.de;Jörg;Müßig;01067;Dresden")
_PLAIN = _lines("email,first_name", "ada@example.com,Ada", "bob@example.com,Bob")
# What Python 3.11's gzip makes of "member_id\n1\n": its header differs by version of Python.
_GZIPPED = bytes.fromhex("1f8b0800000000000203cb4d cd4d4a2d8acf4ce132e40200fc7c7aaf0c000000")

CASES = (
    # Encodings
    Case("utf8.csv", "members US", "UTF-8 without a mark", _ZOE.encode()),
    Case("utf8-bom.csv", "members US", "UTF-8 with a byte-order mark", _ZOE.encode("utf-8-sig")),
    Case(
        "utf8-two-boms.csv",
        "members US",
        "two marks, as if exported twice",
        b"\xef\xbb\xbf" + _ZOE.encode("utf-8-sig"),
    ),
    Case(
        "utf16-le-bom.csv",
        "members US",
        'Excel "Unicode text": UTF-16 with tabs',
        _ZOE.replace(",", "\t").encode("utf-16"),
    ),
    Case("utf16-be-bom.csv", "members US", "big-endian", b"\xfe\xff" + _ZOE.encode("utf-16-be")),
    Case("utf16-le.csv", "members US", "UTF-16 without a mark", _PLAIN.encode("utf-16-le")),
    Case("utf16-be.csv", "members US", "UTF-16 without a mark, big-endian", _PLAIN.encode("utf-16-be")),
    Case("utf32.csv", "members US", "UTF-32, whose mark begins like that of UTF-16", _ZOE.encode("utf-32")),
    Case(
        "cp1252.csv", "members DE", "Windows code page, semicolons, German headers", _JOERG.encode("cp1252")
    ),
    Case(
        "cp1252-undefined-byte.csv",
        "members US",
        "a byte that the code page does not define: the damaged name is left alone",
        b"email,first_name,last_name\nann@example.com,Ren\xe9\x81e,Ros\xe9\n",
    ),
    Case(
        "utf8-with-one-old-row.csv",
        "members US",
        "two exports glued together: UTF-8, and one row in the code page",
        _ZOE.encode() + "rene@example.com,René,Lyon\n".encode("cp1252"),
    ),
    Case(
        "late-umlaut.csv",
        "members US",
        "the first character beyond ASCII comes late, in the code page",
        (
            _lines("email,first_name", *(f"m{i}@example.com,Ann" for i in range(3))) + "z@example.com,Zoé\n"
        ).encode("cp1252"),
    ),
    Case(
        "nul-bytes.csv",
        "members US",
        "NUL bytes inside and at the end",
        b"email,first_name\na\0da@example.com,A\0da\n\0\0\0",
    ),
    Case("ctrl-z.csv", "members US", "the end-of-file character of DOS", _PLAIN.encode() + b"\x1a"),
    Case(
        "zero-width.csv",
        "members US",
        "zero-width and no-break spaces in cells and header",
        "\u200bemail,first\u00a0name\n\u200bada@example.com\u00a0,\u00a0Ada\u200b \u00a0Maria\n".encode(),
    ),
    # Delimiters and line ends
    Case(
        "semicolon.csv",
        "members US",
        "semicolons, and commas in a cell",
        b"email;city\nada@example.com;Portland, OR\n",
    ),
    Case("tab.csv", "members US", "tabs", _PLAIN.replace(",", "\t").encode()),
    Case("pipe.csv", "members US", "pipes", _PLAIN.replace(",", "|").encode()),
    Case(
        "sep-line.csv", "members US", "Excel's sep= line", ("sep=;\r\n" + _PLAIN.replace(",", ";")).encode()
    ),
    Case(
        "sep-line-caret.csv",
        "members US",
        "sep= names an unusual delimiter",
        ("sep=^\n" + _PLAIN.replace(",", "^")).encode(),
    ),
    Case(
        "comma-heavy-semicolon.csv",
        "members US",
        "more commas than semicolons in the data",
        b"email;last_name;city\na@example.com;Smith, Jr., Dr.;Paris, TX, USA\n"
        b"b@example.com;Lee, Ann, MD;Rome, GA, USA\n",
    ),
    Case("cr-only.csv", "members US", "line ends of the old Mac", _PLAIN.replace("\n", "\r").encode()),
    Case(
        "crlf.csv",
        "members US",
        "line ends of Windows, none at the end",
        _PLAIN.replace("\n", "\r\n").rstrip().encode(),
    ),
    Case("cr-cr-lf.csv", "members US", "line ends translated twice", _PLAIN.replace("\n", "\r\r\n").encode()),
    Case(
        "mixed-line-ends.csv",
        "members US",
        "every kind of line end",
        b"email,first_name\rada@example.com,Ada\r\nbob@example.com,Bob\ncy@example.com,Cy",
    ),
    Case(
        "blank-lines.csv",
        "members US",
        "blank lines before, between and after, lines of delimiters only",
        b"\n\nemail,first_name\n\nada@example.com,Ada\n,\n  , \n\nbob@example.com,Bob\n\n\n",
    ),
    Case(
        "trailing-delimiters.csv",
        "members US",
        "delimiters at every line end",
        b"email,first_name,,\nada@example.com,Ada,,\nbob@example.com,Bob,,,,\n",
    ),
    # Headers
    Case(
        "padded-headers.csv",
        "members US",
        "padded and shouted headers, padded quoted cells",
        b'  EMAIL  , First-Name ,"Last_Name "\n ada@example.com , Ada , "Love, Lace" \n',
    ),
    Case(
        "synonyms.csv",
        "members US",
        "other names for every column",
        b"Member ID,E-mail Address,Given Name,Surname,Mobile Number,D.O.B.,Postcode,Town,Newsletter\n"
        b"M-1,ada@example.com,Ada,Lovelace,+44 20 7946 0958,1985-12-10,sw1a 1aa,London,yes\n",
    ),
    Case(
        "german.csv",
        "members DE",
        "German headers and values",
        "Mitgliedsnummer;E-Mail-Adresse;Vorname;Nachname;Telefon;Geburtsdatum;PLZ;Wohnort;Einwilligung\n"
        "0815;uwe@example.de;Uwe;Groß;030 901820;24.12.1971;10178;Berlin;ja\n".encode(),
    ),
    Case(
        "french.csv",
        "members FR",
        "French headers and values",
        "Numéro de membre;Courriel;Prénom;Nom;Téléphone;Date de naissance;Code postal;Ville;Consentement\n"
        "A7;zoe@example.fr;Zoé;Noël;01 42 68 53 00;2 février 1990;75008;Paris;oui\n".encode(),
    ),
    Case(
        "spanish.csv",
        "members ES",
        "Spanish headers and values",
        "Número de socio;Correo electrónico;Nombre;Apellidos;Teléfono;"
        "Fecha de nacimiento;Código postal;Ciudad\n"
        "9;jose@example.es;José;Núñez;912 345 678;3 de abril de 1990;28001;Madrid\n".encode(),
    ),
    Case(
        "doubled-header.csv",
        "members US",
        "two columns of one meaning",
        b"Mail,email,first name,First_Name\nold@example.com,new@example.com,Ada,Eve\n",
    ),
    Case(
        "title-rows.csv",
        "members US",
        "a title and an empty row above the header",
        b"Members of the Coffee Club,,\n,,\nemail,first_name,city\nada@example.com,Ada,Bath\n",
    ),
    Case(
        "unknown-extra-columns.csv",
        "members US",
        "columns that nobody knows",
        b"shoe size,email,notes\n44,ada@example.com,likes tea\n",
    ),
    Case(
        "id-only-column.csv",
        "members US",
        "neither e-mail nor member id, but id",
        b"id,first_name\n00123,Ada\n",
    ),
    Case("no-known-header.csv", "members US", "nothing that could name a member", b"colour,size\nred,XL\n"),
    Case(
        "headerless-members.csv",
        "members US",
        "a member list without a header",
        b"m1@example.com,Ada\nm2@example.com,Bob\n",
    ),
    Case(
        "google-sheets-accident.csv",
        "members US",
        "every line is one quoted cell",
        b'"first_name,last_name,email"\n'
        b'"Ada,""Lovelace, Countess"",ada@example.com"\n"Bob,Lee,bob@example.com"\n',
    ),
    Case(
        "google-sheets-accident-semicolon.csv",
        "members US",
        "the same with semicolons, and a bare line",
        b'"email;first_name",\n"ada@example.com;Ada",\nbob@example.com;Bob\n',
    ),
    # Quotes and ragged rows
    Case(
        "quoted-newline.csv",
        "members US",
        "a line break in a quoted cell",
        b'email,city,first_name\nada@example.com,"Saint\r\nPaul",Ada\nbob@example.com,Rome,Bob\n',
    ),
    Case(
        "doubled-quotes.csv",
        "members US",
        "quotes inside quotes",
        b'email,first_name\nada@example.com,"Ada ""Countess"" L."\n',
    ),
    Case(
        "stray-quotes.csv",
        "members US",
        "quotes that are not quoting",
        b'email,first_name\nada@example.com,Ada "A" L\nbob@example.com,5" Bob\n',
    ),
    Case(
        "runaway-quote.csv",
        "members US",
        "a quote opened and closed three rows later",
        b'email,first_name\nada@example.com,Ada\n"bob@example.com,Bob\ncy@example.com,Cy\ndi@example.com,Di"\n',
    ),
    Case(
        "runaway-quote-to-the-end.csv",
        "members US",
        "a quote that is never closed",
        b'email,first_name\nada@example.com,Ada\nbob@example.com,"Bob\ncy@example.com,Cy\ndi@example.com,Di\n',
    ),
    Case(
        "cut-off.csv",
        "members US",
        "a download that broke off inside quotes",
        b'email,first_name\nada@example.com,Ada\nbob@example.com,"Bo',
    ),
    Case(
        "too-few-cells.csv",
        "members US",
        "short rows",
        b"email,first_name,city\nada@example.com\nbob@example.com,Bob\n",
    ),
    Case(
        "too-many-cells.csv",
        "members US",
        "an unquoted comma",
        b"email,city,first_name\nada@example.com,Portland, OR,Ada\nbob@example.com,Rome,Bob\n",
    ),
    # Dates
    Case(
        "dates-day-first.csv",
        "members US",
        "two dates settle the column, against the region",
        _dates("03/04/1990", "25/12/1980", "31.01.1975"),
    ),
    Case(
        "dates-month-first.csv",
        "members GB",
        "one date settles the column, against the region",
        _dates("03/04/1990", "12/25/1980"),
    ),
    Case(
        "dates-conflict.csv",
        "members US",
        "day first and month first in one column",
        _dates("25/12/1980", "12/25/1980", "01/02/1990"),
    ),
    Case(
        "dates-undecided-us.csv",
        "members US",
        "nothing settles the order: the region",
        _dates("03/04/1990", "05/06/1980"),
    ),
    Case(
        "dates-undecided-gb.csv",
        "members GB",
        "nothing settles the order: another region",
        _dates("03/04/1990", "05/06/1980"),
    ),
    Case(
        "dates-undecided-setting.csv",
        "members US DMY",
        "nothing settles the order: the setting",
        _dates("03/04/1990", "05/06/1980"),
    ),
    Case(
        "dates-undecided-dots.csv",
        "members US",
        "nothing settles the order but the dots",
        _dates("03.04.1990", "5.6.1980"),
    ),
    Case(
        "dates-header-hint.csv",
        "members US",
        "the header says the order",
        _dates("03/04/1990", name="DOB (DD/MM/YYYY)"),
    ),
    Case(
        "dates-iso.csv",
        "members US DMY",
        "ISO dates are never turned around",
        _dates("1990-04-03", "1990/04/03", "19900403", "1990-04-03T00:00:00.000Z", "1990-04-03 00:00:00"),
    ),
    Case(
        "dates-zone-shift.csv",
        "members US",
        "midnight in Berlin, written in UTC",
        _dates("1990-04-02T22:00:00.000Z", "1990-04-03"),
    ),
    Case(
        "dates-month-names.csv",
        "members US",
        "month names in several languages",
        _dates(
            "3 April 1990",
            "Apr 3, 1990",
            "03-Apr-90",
            "3. März 1990",
            "3 août 1990",
            "3 de enero de 1990",
            "1990-Apr-03",
            "April 3rd 1990",
        ),
    ),
    Case(
        "dates-two-digit-years.csv",
        "members US",
        "two-digit years never lie in the future",
        _dates("12/31/25", "12/31/26", "06/15/05", "06/15/44"),
    ),
    Case(
        "dates-excel-numbers.csv",
        "members US",
        "a column of Excel's day numbers",
        _dates("32964", "29221", "32964.0", "1990-04-03"),
    ),
    Case(
        "dates-one-excel-number.csv",
        "members US",
        "one day number among dates is not believed",
        _dates("1990-04-03", "32964", "1980-01-02"),
    ),
    Case(
        "dates-placeholders.csv",
        "members US",
        "placeholders, the future, Methuselah",
        _dates(
            "1900-01-01", "01/01/1970", "1904-01-01", "0000-00-00", "2031-05-05", "1890-06-01", "12/25/1980"
        ),
    ),
    Case(
        "dates-impossible.csv",
        "members US",
        "no such day, no date at all",
        _dates("1990-02-29", "31/31/1990", "Friday", "1990", "04/1990", "12/25/1980", "########"),
    ),
    Case(
        "dates-missing.csv",
        "members US",
        "all the ways to say nothing",
        _dates("N/A", "unknown", "-", "null", "None", "nil", "#N/A", "n.a.", " ", "NaN", "--", "12/25/1980"),
    ),
    # Other values
    Case(
        "missing-words.csv",
        "members US",
        "missing names; people who are called Na and Nan",
        b"email,first_name,last_name,city\na@example.com,N/A,Unknown,-\nb@example.com,Nan,Na,null\n",
    ),
    Case(
        "phones.csv",
        "members US",
        "phones in many spellings",
        _column(
            "phone",
            *("(212) 555-0123", "+1 212.555.0123", "1-212-555-0123", "212-555-0123 ext. 9", "+49 30 901820"),
            *("0049 30 901820", "'+12125550123", "２１２５５５０１２３", "2125550123.0", "12", "call me"),  # noqa: RUF001
            *("tel: 212 555 0123", "491711234567"),
        ),
    ),
    Case(
        "phones-excel.csv", "members IT", "digits lost by Excel", _column("phone", "4.91712E+11", "236618300")
    ),
    Case(
        "zips.csv",
        "members US",
        "postal codes, with and without their zero",
        _column("zip", "02138", "2138", "02138-1234", "90210.0", "k1a 0b1", "9.02E+04"),
    ),
    Case(
        "opt-in.csv",
        "members US",
        "yes and no in several tongues",
        _column(
            "marketing_opt_in",
            *("yes", "NO", "TRUE", "false", "1", "0", "Y", "n", "ja", "Oui", "x", "opted out", "Opted In"),
            *("✓", "maybe", "", "n/a", "nein", "non", "sí"),
        ),
    ),
    Case(
        "emails.csv",
        "members US",
        "addresses in many spellings",
        (
            'email,member_id\nADA@Example.COM,1\nmailto:bob@example.com,2\n"Cy Lee <cy@example.com>",3\n'
            '"d@example.com; e@example.com",4\nnobody,5\nfred@,6\njosé@exämple.com,7\n.g@example.com,8\n'
        ).encode(),
    ),
    Case(
        "nobody.csv",
        "members US",
        "rows that name nobody",
        b"email,member_id,first_name\n,,Ada\nnot an address,,Bob\nN/A,unknown,Cy\n,M-4,Di\n",
    ),
    Case(
        "duplicate-emails.csv",
        "members US",
        "the same address three times, in different case",
        b"email,first_name\nada@example.com,A\nbob@example.com,Bob\nADA@example.com,B\n Ada@Example.com ,C\n",
    ),
    Case(
        "duplicate-ids.csv",
        "members US",
        "the same card for two people, and twice without an address",
        b"email,member_id\nada@example.com,M-1\nbob@example.com,m-1\n,M-2\n,M-2\n",
    ),
    Case(
        "excel-ids.csv",
        "members US",
        "ids after a visit to Excel",
        b'email,member_id\na@example.com,1.23E+11\nb@example.com,"=""00123"""\nc@example.com,\'00456\n',
    ),
    Case(
        "formulas.csv",
        "members US",
        "cells that a spreadsheet would run, as our file of rejects writes them",
        b"passbell_reason,email,first_name,last_name,phone\n"
        b"row 2: x,ada@example.com,'=1+1,'t Hooft,'+12125550123\nrow 3: x,bob@example.com,=1+1,@bob,\n",
    ),
    Case(
        "long-name.csv",
        "members US",
        "a name longer than any",
        b"email,first_name\nada@example.com," + b"A" * 201 + b"\n",
    ),
    Case("header-only.csv", "members US", "a header and no rows", b"email,first_name\n"),
    # Hit lists
    Case("ids-plain.csv", "ids", "a plain hit list", b"member_id\n00123\nM-9\n00123\n"),
    Case("ids-headerless.csv", "ids", "no header, one column", b"00123\n00456\n"),
    Case("ids-headerless-word.csv", "ids", "no header, an id without a digit", b"adalovelace\n00456\n"),
    Case(
        "ids-headerless-columns.csv",
        "ids",
        "no header, ids in the first of three columns",
        b"77;Ada;x\n78;Bob;y\n",
    ),
    Case("ids-uuid.csv", "ids", "pass ids", b"Pass ID\n8c9c2f6e-4f0f-4d3c-9f6e-0d8f3b1a2c3d\n"),
    Case(
        "ids-dirty.csv",
        "ids",
        "everything that may stick to an id",
        (
            '"Member ID",note\n\u200b00123\u00a0,x\n"=""00456""",\n\'00789,\n０１２,\n 7 ,\n1.23E+11,\n'  # noqa: RUF001
            '"1,5E+10",\nN/A,\nunknown,\n,\n"a b",\n12E-34,\n'
        ).encode(),
    ),
    Case(
        "ids-second-column.csv",
        "ids",
        "an empty member id, but a pass id",
        b"member_id,pass_id\n,p-1\nm-2,p-2\n",
    ),
    Case(
        "ids-utf16.csv",
        "ids",
        "a hit list in UTF-16 with tabs",
        "Member ID\tName\n00123\tZoë\n".encode("utf-16"),
    ),
    Case(
        "ids-wrong-columns.csv", "ids", "a table without any id", b"first_name,email\nAda,ada@example.com\n"
    ),
    Case(
        "ids-runaway-quote.csv",
        "ids",
        "a quote that would swallow the list",
        b'member_id\n001\n"002\n003\n004\n',
    ),
    Case("ids-long.csv", "ids", "an id longer than any", b"member_id\n" + b"9" * 201 + b"\n"),
    # Not a CSV at all
    Case("empty.csv", "ids", "nothing", b""),
    Case("blank.csv", "ids", "nothing but blanks and delimiters", b"\xef\xbb\xbf \r\n,,\r\n\t\r\n"),
    Case(
        "login.html.csv",
        "ids",
        "a login page",
        b"\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>",
    ),
    Case(
        "utf16.html.csv", "ids", "a web page in UTF-16", "<html><body>Sign in</body></html>".encode("utf-16")
    ),
    Case(
        "table.html.csv", "members US", "an HTML table called .xls", b"<table><tr><td>email</td></tr></table>"
    ),
    Case(
        "denied.xml.csv",
        "ids",
        "what object storage says when denied",
        b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
    ),
    Case("error.json.csv", "ids", "an API's error", b'{"statusCode":"404","error":"not_found"}'),
    Case("rows.json.csv", "members US", "rows as JSON", b'[\n  {"email": "ada@example.com"}\n]\n'),
    Case("workbook.csv", "members US", "an .xlsx renamed", _zip("[Content_Types].xml", "xl/workbook.xml")),
    Case("archive.csv", "members US", "a zip archive", _zip("members.csv")),
    Case(
        "old-workbook.csv", "members US", "an .xls renamed", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504)
    ),
    Case("gzipped.csv", "ids", "compressed", _GZIPPED),
    Case("report.pdf.csv", "ids", "a PDF", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n"),
    Case("logo.png.csv", "ids", "a picture", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
    Case("noise.csv", "ids", "a binary file of no known kind", bytes(range(256)) * 8),
    Case("contacts.vcf.csv", "members US", "an address book", b"BEGIN:VCARD\r\nVERSION:3.0\r\nEND:VCARD\r\n"),
)


def main() -> None:
    """Write every case beside this script."""
    for case in CASES:
        (HERE / case.name).write_bytes(case.content)


if __name__ == "__main__":
    main()
