"""What one cell of a column of consent says: yes, no, or no answer. The words are data: consent.tsv."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from passbell.files.csv import dates
from passbell.files.csv.cells import clean_code, is_missing_code
from passbell.files.csv.consentnames import Kind, folded_regex, refuses, stems
from passbell.files.csv.words import any_of, fold, table, words_for

if TYPE_CHECKING:
    from collections.abc import Callable

Word = Literal["yes", "no", "never", "open"]

NEITHER: Final = "this is neither yes nor no"


# A sentence that refuses: "No thank you", "I'd rather not", "Nie wyrażam zgody", "希望しません".
_REFUSES = re.compile(
    r"^(no|non|nein|nie|nej|nei|nee|ne|nao|n\u00e3o|ei|hay\u0131r|hayir|never|stop)\b|"
    r"\b(no|non|not|never|n't|dont|cannot|unsubscribe\w*|nicht|kein\w*|nie|niet|geen|inte|ikke|nunca|jamais|mai|nigdy|nooit|"
    r"aldrig|aldri|nikdy|asla|n[e'\u2019]\s?\w+\s+pas|pas d\w*|n\u00e3o|ei)\b|n['\u2019]t\b|"
    r"ません|ない|しな|不|拒|未|\bلا\b|\bלא\b"  # noqa: RUF001
)
_CHANNELS = re.compile(
    r"(^|[,;/ ])(e-?mail|all|any|marketing|push|newsletter|tout|alle|todo|hard|soft|permanent|transient|abuse)s?"
    r"([,;/ ]|$)",
    re.IGNORECASE,
)
_NO_LABEL = re.compile(r"bounce|complain|suppress|hardfail")
_LIST = re.compile(r"\[.+\]")
_NO_DATE = re.compile(
    r"(0{1,4}[-./]0{1,2}[-./]0{1,4}|1970-01-01)([T ]0?0:00(:00)?(\.0+)?( ?(Z|UTC|[+-]00:?00))?)?|\[\]|\{\}|\"\"",
    re.IGNORECASE,
)
_DATE = re.compile(r"\d{4}-\d\d?-\d\d?|\d{1,2}[./]\d{1,2}[./]\d{2,4}")
# A spreadsheet's number of a day, or the seconds of a clock.
_DAY_NUMBER = re.compile(r"[2-9]\d{4}([.,]\d+)?|\d{10}(\d{3})?")
_CODED = re.compile(r"\d\s*[-:=)]\s*(\D.*)")
_NOT_OUT = re.compile(
    r"(not|non|never|nicht|niet|pas|no|ikke|inte|nie|n)[ _-](yet[ _-])?"
    r"(opted[ _-]?out|unsub\w*|opt[ _-]?out|blocked|blacklisted|blocklisted|bounced|suppressed|abgemeldet|gesperrt|"
    r"d[e\u00e9]sabonn\w+|afgemeld)"
)
_SHORT = 30  # characters of "no answer"; a longer sentence refuses
_FIRST_PART = re.compile(r"^([^,;:.!\u2013\u2014|/-]{1,30}?)\s*(?:[,;:!\u2013\u2014|/]|\.\s|\s-\s)")
_MARKS: Final[dict[str, Word]] = dict.fromkeys("✓✔☑✅○◯\u3007", "yes") | dict.fromkeys("✗✘☐❌\xd7✕✖", "no")  # type: ignore[assignment]
_NUMBERS: Final[dict[str, Word]] = {"1": "yes", "1.0": "yes", "0": "no", "0.0": "no"}


@cache
def _words() -> dict[str, Word]:
    words: dict[str, Word] = {}
    for meaning, _language, listed in table("consent.tsv"):
        for word in filter(None, map(fold, listed.split(","))):
            if meaning not in {"stem", "unanswered", "lost"}:
                words.setdefault(word, meaning)  # type: ignore[arg-type]
    return words


@lru_cache(maxsize=1 << 12)
def word_of(text: str) -> Word | None:  # noqa: PLR0911 -- a ladder of readings
    """Read yes or no as people and programs write it; None is a word that is not known."""
    if mark := _MARKS.get(text) or _NUMBERS.get(text):
        return mark
    words, folded = _words(), fold(text)
    if word := words.get(folded):
        return word
    if _NOT_OUT.fullmatch(text.casefold()):
        return "open"
    if coded := _CODED.fullmatch(text):
        return word_of(coded[1])
    if stems().search(folded):
        return "no"
    if part := _FIRST_PART.match(text):
        word = words.get(fold(part[1]))
        return word if word in {"yes", "no"} else None
    return None


class Answer(NamedTuple):
    """What one cell says: True, False, None; `weak`, a no that another column's yes outweighs."""

    says: bool | None
    problem: str | None = None
    weak: bool = False


@lru_cache(maxsize=1 << 13)
def answer(kind: Kind, cell: str) -> Answer:
    """Read one cell of a column of consent."""
    text = clean_code(cell)
    if not text or is_missing_code(text) or _NO_DATE.fullmatch(text):
        return Answer(None)
    return _READERS[kind](text, fold(text), word_of(text))


def _opt_in(text: str, folded: str, word: Word | None) -> Answer:
    if word is None:
        if len(text) <= _SHORT and "," not in text and _unanswered().search(folded):
            return Answer(None)
        return Answer(False) if _REFUSES.search(text.casefold()) or refuses(text) else Answer(None, NEITHER)
    if folded in _SWITCHED_OFF:
        return Answer(False)
    return Answer({"yes": True, "no": False, "never": False, "open": None}[word])


def _opt_in_elsewhere(_text: str, folded: str, word: Word | None) -> Answer:
    if word is None:
        return Answer(None, NEITHER)
    return Answer(False, weak=not _of_consent(folded)) if word == "no" else Answer(None)


def _opt_out(text: str, folded: str, word: Word | None) -> Answer:
    if word == "yes":  # but not "Do not allow e-mails: Allow"
        return Answer(None if _of_consent(folded) or folded.startswith("allow") else False)
    if word == "no" and (_of_consent(folded) or folded == "out" or folded in _lost()):
        return Answer(False)
    if _DATE.search(text) or (word is None and _is_day(text)):
        return Answer(False)
    if word is None and (_CHANNELS.search(text) or _LIST.fullmatch(text)):  # "Blocklisted: Email", "[5]"
        return Answer(False)
    return Answer(None, None if word else NEITHER)


def _left(_text: str, folded: str, word: Word | None) -> Answer:
    return Answer(None if word in {"no", "open", "never"} and not _of_consent(folded) else False)


def _status(_text: str, folded: str, word: Word | None) -> Answer:
    if folded in _lost():
        return Answer(False)
    if word is None or word == "open":
        return Answer(None)
    if not (_of_consent(folded) or (word == "no" and "consent" in folded) or stems().search(folded)):
        return Answer(None)
    return Answer(word == "yes")


def _anywhere(_text: str, folded: str, _word: Word | None) -> Answer:
    return Answer(False if _words().get(folded) == "no" and _of_consent(folded) else None)


def _not_out(_text: str, _folded: str, word: Word | None) -> Answer:
    """Read a denial of an opt-out: a yes is no consent, a no is the opt-out."""
    return Answer(False if word == "no" else None, None if word else NEITHER)


def _tags(text: str, _folded: str, _word: Word | None) -> Answer:
    """Read a list of labels, or a note: if one of them refuses, it is a no, however many others there are."""
    parts = [part.strip(" \"'[]()") for part in _PARTS.split(text)]
    return Answer(
        False
        if any(_anywhere(part, fold(part), None).says is False or _is_refusal(part) for part in parts)
        else None
    )


def _is_refusal(part: str) -> bool:
    if part.count(" ") > _FEW_SPACES or word_of(part) == "open":
        return False
    folded = fold(part)  # a label may speak of a bouncy castle or of a complaint about tea
    return refuses(part, alone=False) or (stems().search(folded) is not None and not _NO_LABEL.search(folded))


def _is_day(text: str) -> bool:
    """Say whether a cell is when it happened."""
    return _DAY_NUMBER.fullmatch(text) is not None or not isinstance(
        dates.read(text), dates.Unreadable | dates.Serial
    )


@cache
def _lost() -> frozenset[str]:
    """Give the words that are a no in a column `Status` alone; elsewhere they speak of other things."""
    return frozenset(map(fold, words_for("consent.tsv", "lost")))


@cache
def _unanswered() -> re.Pattern[str]:
    return any_of(map(fold, words_for("consent.tsv", "unanswered")))


_READERS: Final[dict[Kind, Callable[[str, str, Word | None], Answer]]] = {
    "in": _opt_in,
    "out": _opt_out,
    "left": _left,
    "status": _status,
    "other_in": _opt_in_elsewhere,
    "other_out": _opt_out,
    "any": _anywhere,
    "tags": _tags,
    "not_out": _not_out,
}
_PARTS = re.compile(r"[,;|\n]")
_FEW_SPACES: Final = 3
# In a column of an opt-in; in a column `Status` they speak of the account.
_SWITCHED_OFF: Final = frozenset({"disabled", "deactivated", "inactive", "deaktiviert", "desactive", "無効"})
_STATUS_WORDS = folded_regex(
    r"subscri|opt(ed)?(in|out)|clean|bounce|complain|transactional|nonmarketing|abonn|abgemeldet|angemeldet|inscri|"
    r"suscri|iscri|uitgeschreven|aangemeld|afgemeld|prenumer|avregistr|tilmeldt|avmeldt|afmeldt|zapisan|wypisan|"
    r"odhlas|prihlas|"
    r"abone|配信|購読|订阅|訂閱|退订|退訂|مشترك|הוסר|suppress|blacklist|blocklist|unsub|donot|descadastr|donotallow|widerruf|hardfail"
)


def _of_consent(folded: str) -> bool:
    return _STATUS_WORDS.search(folded) is not None
