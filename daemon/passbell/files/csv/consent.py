"""Who may be sent marketing, as the columns of an export say it: yes, no, or no answer.

Consent is never guessed. A column of an opt-in says yes or no. A column of an opt-out (Email Opt Out, UNSUB,
do_not_email, BOUNCE) can only say no: a box that was not ticked is no consent. If a column holds when or why
a member left (UNSUB_TIME, Bounce reason), a filled cell says no. A column `Status` means consent only by the
words of consent, and so does the cell "Unsubscribed" of any column: there it can only say no. A column about SMS,
calls or letters cannot say yes to anything else, and its plain "no" (the default of shops for members without a
phone) only counts where no other column says yes.

Of several columns any no wins, else any yes. The words are data: consent.tsv.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from passbell.files.csv.cells import clean_code, is_missing_code, shorten
from passbell.files.csv.headernames import fold, known
from passbell.files.csv.tables import table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Kind = Literal["in", "out", "left", "status", "other_in", "other_out", "any"]
Word = Literal["yes", "no", "never", "open"]

NEITHER: Final = "this is neither yes nor no"


def _folded_regex(pattern: str) -> re.Pattern[str]:
    """Compile a pattern for folded names: these have lost their marks, those of Japanese letters too."""
    plain = "".join(
        mark for mark in unicodedata.normalize("NFKD", pattern) if not unicodedata.combining(mark)
    )
    return re.compile(plain)


_OUT = re.compile(
    r"opt(ed|s)?(in)?out|(do(es)?not|dont)\w{0,12}?(e?mail|contact|call|sms|text|market|disturb|send|phone|whatsapp|fax)|"
    r"exclu(de|ded|sion)\w*(campaign|marketing|mailing|email)|unsub|bounce|complain|suppress|blacklist|blocklist|"
    r"emails?disabled|disabledemail|nomarketing|noemails|nonewsletter|^dnd(email|all|sms)?$"
)
_IN = _folded_regex(
    r"opt(ed)?in|consent|newsletter|subscribedto|subscri(bed|ption|be|ber)s?(email|marketing|news|sms|status)|"
    r"(email|marketing|news|sms|push)s?subscri|accepts?(email|sms|marketing|push)|marketingpermission|"
    r"(permission|allow|agree|accept|ok|optin|willing)\w*(marketing|email|mailing|newsletter|sms|push|contact)|"
    r"contactable|marketable|canbeemailed|contactby(email|mail)|issubscri|promo(tional)?(e?mails?|offers)|specialoffers|"
    r"mailinglist(member|optin|subscri)|"
    r"(marketing|email|sms|push)(allowed|agree|accept|permission|optin|ok)\w*|"
    r"einwilligung|werbeerlaubnis|dsgvo|gdpr|rgpd|lgpd|rodo|kvkk|samtyck|samtykke|suostumus|markkinointilupa|"
    r"toestemming|nieuwsbrief|consenso|consentiment|consentimi|souhlas|zgoda|nyhetsbrev|nyhedsbrev|uutiskirje|"
    r"bulten|infolettre|メルマガ|メールマガジン|ニュースレター|メール配信|订阅|訂閱|电子报|電子報|营销|行銷|"
    r"النشرة|التسويق|דיוור|ניוזלטר|"
    # Questions and sentences of forms.
    r"(stayin|keepin)touch|keepme(informed|updated|posted)|signmeup|hearfromus|channelstatus|joinour(list|club|mailing|news)|"
    r"(receiv|sendyou|sendme|getour|informedabout|like|want)\w*(offer|promo|news|update|marketing|email|deals)|"
    r"(werbung|werbe\w*|angebote|news|neuigkeiten|informationen|infos|aktionen)\w*(erhalten|bekommen|zusend|zuschick|einverstanden|"
    r"informiert)|(einverstanden|erhalten|bekommen)\w*(werbung|angebote|news|informationen|infos)|"
    r"(recevoir|recois|souhaite|accepte)\w*(offre|actualite|promo|publicit|communication|information|mail|courriel|nouvelles)|"
    r"(recib|desea|acept|quier)\w*(promo|oferta|novedad|publicidad|comunicacion|informacion|correos|noticia|boletin)|"
    r"(ricever|desider|accett|accons)\w*(offert|promo|novita|pubblicit|comunicazion|informazion|email|notizie)|"
    r"(receber|deseja|aceit|quer)\w*(ofert|promo|novidade|publicidade|comunicac|informac|email|noticia)|"
    r"(aanbieding|nieuws|reclame|informatie|acties)\w*ontvang|(ontvang|hoogte)\w*(aanbieding|nieuws|reclame|acties)|"
    r"(otrzymyw|otrzymac)\w*(ofert|informac|wiadomosc|promoc|mail|reklam)|zgad\w*(ofert|informac|marketing|reklam)|"
    r"(ta|fa|motta)\w*(erbjudanden|nyheter|reklam|tilbud|nyheder)|dostavat\w*(nabidk|novink|informac)|"
    r"(メール|お知らせ|案内|情報|クーポン|dm)\w*(希望|受け取|受取|受信|配信|送付|よろしい)|接收\w*(优惠|優惠|信息|資訊|推广|邮件|郵件)"
)
# Consent to be measured is none to be written to.
_NOT_TO_WRITE = re.compile(
    r"(consent|agree|permission|allow|optin)\w*track|track\w*(consent|permission|allowed|optin)"
)
# When, where and how it was given is not whether.
_ABOUT = re.compile(
    r"(time|timestamp|date|datetime|at|ip|ipaddress|source|method|form|formid|url|link|text|version|by|count|id|type|"
    r"level|page|reason|reasons|campaign|campaigntitle|campaignid|rating|note|notes|comment|label|name|on|utc|"
    r"datum|zeitpunkt|quelle|grund|fecha|data|dato|datum|origine|tarihi|日時|日|日付|时间|時間|日期|經由|経路)$"
)
_LEFT = re.compile(
    r"(time|timestamp|date|datetime|at|on|reason|reasons|campaign|campaigntitle|utc|datum|zeitpunkt|grund|fecha|"
    r"data|dato|tarihi|日時|日|日付|时间|時間|日期)$"
)
_LEFT_NAMES = re.compile(r"^((hard|soft)?clean(ed)?(time|date|at|on|campaigntitle)|bounce(d)?(type|code))$")
_OTHER = re.compile(
    r"sms|textmessage|whatsapp|phone|call|fax|voice|post(al)?(mail|optin|consent|marketing)|directmail|(?<!news)letter|viber|telefon(?!.*mail)"
)
_MAIN = re.compile(r"e?mail|push|wallet|newsletter|allchannels")
_LONGEST_WORD = 40
_LONGEST_NAME = 30
_TICK = 10
# A sentence that refuses: "No thank you", "I'd rather not", "Nie wyrażam zgody", "希望しません".
_REFUSES = re.compile(
    r"^(no|non|nein|nie|nej|nei|nee|ne|nao|n\u00e3o|ei|hay\u0131r|hayir|never|stop)\b|"
    r"\b(no|non|not|never|n't|dont|cannot|unsubscribe\w*|nicht|kein\w*|nie|niet|geen|inte|ikke|nunca|jamais|mai|nigdy|nooit|"
    r"aldrig|aldri|nikdy|asla|n[e'\u2019]\s?\w+\s+pas|pas d\w*|n\u00e3o|ei)\b|n['\u2019]t\b|"
    r"ません|ない|しな|不|拒|未|\bلا\b|\bלא\b"  # noqa: RUF001
)
_CHANNELS = re.compile(
    r"(^|[,;/ ])(e-?mail|all|any|marketing|push|newsletter|tout|alle|todo)s?([,;/ ]|$)", re.IGNORECASE
)
_NO_DATE: Final = frozenset({"0000-00-00", "0000-00-00 00:00:00"})
_DATE = re.compile(r"\d{4}-\d\d?-\d\d?|\d{1,2}[./]\d{1,2}[./]\d{2,4}")
_FIRST_PART = re.compile(r"^([^,;:.!\u2013\u2014|/-]{1,30}?)\s*(?:[,;:!\u2013\u2014|/]|\.\s|\s-\s)")
_MARKS: Final[dict[str, Word]] = dict.fromkeys("✓✔☑✅○◯\u3007", "yes") | dict.fromkeys("✗✘☐❌\xd7✕✖", "no")  # type: ignore[assignment]
_NUMBERS: Final[dict[str, Word]] = {"1": "yes", "1.0": "yes", "0": "no", "0.0": "no"}


@cache
def _words() -> tuple[dict[str, Word], re.Pattern[str]]:
    words: dict[str, Word] = {}
    stems: list[str] = []
    for meaning, _language, listed in table("consent.tsv"):
        for word in filter(None, map(fold, listed.split(","))):
            if meaning == "stem":
                stems.append(word)
            else:
                words.setdefault(word, meaning)  # type: ignore[arg-type]
    return words, re.compile("|".join(map(re.escape, stems)))


@cache
def kind_of(name: str) -> Kind | None:  # noqa: PLR0911 -- a ladder of readings
    """Say what sort of consent a header is about, or None."""
    found = known(name)
    if found is not None and found.field not in {"in", "out", "status"}:
        return None
    folded = fold(name)
    # A question may end with the words of "when": `… by e-mail?`.
    asked = len(folded) > _LONGEST_NAME
    other = _OTHER.search(folded) is not None and _MAIN.search(_OTHER.sub("", folded)) is None
    if found is not None:
        return found.field  # type: ignore[return-value]
    if _LEFT_NAMES.match(folded):
        return "left"
    if _NOT_TO_WRITE.search(folded):
        return None
    if _OUT.search(folded) or _words()[1].search(folded):
        if not asked and (about := _ABOUT.search(folded)):
            return "left" if _LEFT.search(folded) and about.start() else None
        return "other_out" if other else "out"
    if _IN.search(folded) and (asked or not _ABOUT.search(folded)):
        return "other_in" if other else "in"
    return None


@lru_cache(maxsize=1 << 12)
def word_of(text: str) -> Word | None:
    """Read yes or no as people and programs write it; None is a word that is not known."""
    if mark := _MARKS.get(text) or _NUMBERS.get(text):
        return mark
    words, stems = _words()
    folded = fold(text)
    if word := words.get(folded):
        return word
    if stems.search(folded):
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
    if not text or is_missing_code(text) or text in _NO_DATE:
        return Answer(None)
    return _READERS[kind](text, fold(text), word_of(text))


def _opt_in(text: str, _folded: str, word: Word | None) -> Answer:
    if word is None:
        return Answer(False) if _REFUSES.search(text.casefold()) else Answer(None, NEITHER)
    return Answer({"yes": True, "no": False, "never": False, "open": None}[word])


def _opt_in_elsewhere(_text: str, folded: str, word: Word | None) -> Answer:
    if word is None:
        return Answer(None, NEITHER)
    return Answer(False, weak=not _of_consent(folded)) if word == "no" else Answer(None)


def _opt_out(text: str, folded: str, word: Word | None) -> Answer:
    if word == "yes":  # but not "Do not allow e-mails: Allow"
        return Answer(None if _of_consent(folded) or folded.startswith("allow") else False)
    if _DATE.search(text) or (word == "no" and _of_consent(folded)):
        return Answer(False)
    if word is None and _CHANNELS.search(text):  # "Blocklisted: Email"
        return Answer(False)
    return Answer(None, None if word else NEITHER)


def _left(_text: str, folded: str, word: Word | None) -> Answer:
    return Answer(None if word in {"no", "open"} and not _of_consent(folded) else False)


def _status(_text: str, folded: str, word: Word | None) -> Answer:
    if word is None or word == "open" or not (_of_consent(folded) or _LOST.match(folded)):
        return Answer(None)
    return Answer(word == "yes")


def _anywhere(_text: str, folded: str, _word: Word | None) -> Answer:
    return Answer(False if _words()[0].get(folded) == "no" and _of_consent(folded) else None)


_READERS: Final[dict[Kind, Callable[[str, str, Word | None], Answer]]] = {
    "in": _opt_in,
    "out": _opt_out,
    "left": _left,
    "status": _status,
    "other_in": _opt_in_elsewhere,
    "other_out": _opt_out,
    "any": _anywhere,
}
# In a column `Status` alone; elsewhere these words speak of other things.
_LOST = re.compile(r"^(junk|spam|removed|blocked|invalidemail|undeliverable\w*|donotmail|dnd)$")
_STATUS_WORDS = _folded_regex(
    r"subscri|opt(ed)?(in|out)|clean|bounce|complain|transactional|nonmarketing|abonn|abgemeldet|angemeldet|inscri|"
    r"suscri|iscri|uitgeschreven|aangemeld|afgemeld|prenumer|avregistr|tilmeldt|avmeldt|afmeldt|zapisan|wypisan|"
    r"odhlas|prihlas|"
    r"abone|配信|購読|订阅|訂閱|退订|退訂|مشترك|הוסר|suppress|blacklist|blocklist|unsub|donot|descadastr|donotallow|widerruf|hardfail"
)


def _of_consent(folded: str) -> bool:
    return _STATUS_WORDS.search(folded) is not None


@dataclass(slots=True)
class Count:
    """How many rows said yes and no in one column, or altogether."""

    yes: int = 0
    no: int = 0

    def add(self, *, says: bool) -> None:
        """Count one answer."""
        if says:
            self.yes += 1
        else:
            self.no += 1

    def of(self, rows: int) -> str:
        """Say it; the other rows did not answer."""
        return f"{self.yes:,} yes, {self.no:,} no, {rows - self.yes - self.no:,} without an answer"


@dataclass(slots=True)
class Consent:
    """The columns of consent of one file."""

    columns: tuple[tuple[int, str, Kind], ...]
    counts: dict[int, Count] = field(default_factory=dict)
    total: Count = field(default_factory=Count)
    rows: int = 0

    @classmethod
    def of(cls, header: Sequence[str], indexes: Sequence[int], others: Sequence[int]) -> Consent:
        """Take the columns that `headers.match` found, and `others`, which mean nothing else."""
        named = [(i, header[i], kind) for i in indexes if (kind := kind_of(header[i]))]
        return cls((*named, *((i, header[i], "any") for i in others)))

    def _answers(self, cells: list[str]) -> list[tuple[int, str, Answer]]:
        count = len(cells)
        return [
            # A box that was ticked in a form repeats the question.
            (index, name, answer(kind, "yes" if len(cell) > _TICK and fold(cell) == fold(name) else cell))
            for index, name, kind in self.columns
            # Numbers, dates and notes of other columns are no words of consent: they need not be looked up.
            if index < count
            and (cell := cells[index])
            and (kind != "any" or (cell[0] not in "0123456789+-$'" and len(cell) <= _LONGEST_WORD))
        ]

    def read(self, cells: list[str]) -> tuple[bool | None, list[tuple[str, str, str]]]:
        """Give what the row says, and the cells that say nothing known: column, value, reason."""
        answers = self._answers(cells)
        problems = [
            (name, shorten(clean_code(cells[index])), given.problem)
            for index, name, given in answers
            if given.problem
        ]
        return _decide([given for _, _, given in answers]), problems

    def count(self, cells: list[str]) -> None:
        """Count one row, for `notes`."""
        self.rows += 1
        answers = self._answers(cells)
        for index, _, given in answers:
            if given.says is not None:
                self.counts.setdefault(index, Count()).add(says=given.says)
        if (says := _decide([given for _, _, given in answers])) is not None:
            self.total.add(says=says)

    def notes(self) -> list[str]:
        """Say how many rows answered what, and by which column."""
        used = [
            (name, self.counts.get(index, Count()))
            for index, name, kind in self.columns
            # A column `Status` that speaks of something else is none of consent.
            if index in self.counts or (self.rows and kind not in {"status", "any"})
        ]
        if not used:
            return []
        by = "; ".join(f'"{name}": {count.of(self.rows)}' for name, count in used)
        return [f"Consent: {self.total.of(self.rows)}. By column: {by}."]


def _decide(answers: list[Answer]) -> bool | None:
    if any(given.says is False and not given.weak for given in answers):
        return False
    if any(given.says for given in answers):
        return True
    return False if any(given.says is False for given in answers) else None
