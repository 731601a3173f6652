"""Which columns say who may be sent what, by their names.

Some names are consent as they stand (columns.tsv). The others are read by their words (consentnames.tsv): a permission
beside what is sent ("Autorisation marketing") is an opt-in. A refusal or a withdrawal beside it ("Newsletter gesperrt",
"Consent withdrawn") is an opt-out, however much the rest of the name sounds like consent: what is ticked there is a no.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from itertools import pairwise
from typing import Literal

from passbell.files.csv.words import (
    NEUTRAL,
    any_of,
    fold,
    in_parentheses,
    known,
    plain,
    promises,
    table_of_words,
    words_for,
    words_of,
)

Kind = Literal["in", "out", "left", "status", "other_in", "other_out", "not_out", "any", "tags"]


def folded_regex(pattern: str) -> re.Pattern[str]:
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
_IN = folded_regex(
    r"opt(ed)?in|consent|newsletter|subscribedto|subscri(bed|ption|be|ber)s?(email|marketing|news|sms|status)|smsmarketingstatus|"
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
# Consent to be tracked does not allow messages.
_NOT_TO_WRITE = re.compile(
    r"(consent|agree|permission|allow|optin)\w*track|track\w*(consent|permission|allowed|optin)"
)
# A name about when, where or how consent was given does not say whether it was given.
_WHEN = re.compile(
    r"(timestamp|(?<!up)date|datetime|time|edat|outat|edon|reason|reasons|campaign|campaigntitle|datum|zeitpunkt|grund|tidspunkt|"
    r"日時|日|日付|时间|時間|日期)$"
)
_ABOUT = re.compile(
    r"(ipaddress|(in|out|consent)ip|source|method|formid|campaignid|rating|version|level|quelle|經由|経路)$"
)
_LEFT_NAMES = re.compile(
    r"^((hard|soft)?clean(ed)?(time|date|at|on|campaigntitle)|bounce(d)?(type|code)|deactivated(at|on)?|fecha(de)?baja)$"
)
_OTHER = re.compile(
    r"sms|textmessage|whatsapp|phone|call|fax|voice|post(al)?(mail|optin|consent|marketing)|directmail|(?<!news)letter|viber|telefon(?!.*mail)"
)
_MAIN = folded_regex(
    r"e?mail|push|wallet|newsletter|allchannels|courriel|correoelectr|sahkopost|epost|メール|邮件|郵件|بريد|דואל|מייל"
)
_LONGEST_NAME = 30  # a longer one is a question
_YES_OR_NO = re.compile(
    r"\b(yes|ja|oui|s[iì\u00ed]|sim|tak|ano|evet|y|j|o|s|t|true|1)\s?/\s?(no|nein|nee|nej|nei|non|n[a\u00e3]o|nie|ne|hay\u0131r|n|f|false|0)\b|"
    r"\b(no|n|0)\s?/\s?(yes|y|1)\b",
    re.IGNORECASE,
)
# "(1 = yes, 0 = no)" explains the cells.
_LEGEND = re.compile(
    r"[(\[][^()\[\]]*\b(yes|ja|oui|s[i\u00ed\u00ec]|sim|tak|ano|evet|y|j|o)\b[^()\[\]]*\b(no|nein|nee|nej|nei|non|n[a\u00e3]o|nie|ne|n)\b[^()\[\]]*[)\]]|"
    r"[(\[][^()\[\]]*\b(no|nein|non|n)\b[^()\[\]]*\b(yes|ja|oui|y|j|o)\b[^()\[\]]*[)\]]",
    re.IGNORECASE,
)
# "No. of e-mails" is a number, "No e-mails" is a refusal.
_NUMBER_OF = re.compile(r"\bno(\.|\s+of\b)|\bnumber\b|#", re.IGNORECASE)
_CLAUSE = re.compile(
    r"[.!?;,()\u2013\u2014\u3002\u3001]|\s(?:and|und|et|y|e|en|och|og|ja|oraz|i|a|ve)\s", re.IGNORECASE
)


def _is_about(words: tuple[str, ...], folded: str) -> tuple[bool, bool]:
    """Say whether a name is about when or how consent was given, and whether about when: "Abgemeldet am"."""
    listed, several = table_of_words(), len(words) > 1
    when = several and not listed["when"].whole.isdisjoint((words[0], words[-1]))
    when = when or _WHEN.search(folded) is not None
    return when or (several and words[-1] in listed["about"].whole) or _ABOUT.search(folded) is not None, when


def _without_promises(name: str) -> str:
    """Drop "I can unsubscribe at any time" from a question, and "(yes/no)": they say nothing of what a tick means."""
    name = _YES_OR_NO.sub(" ", _LEGEND.sub(" ", name)).removeprefix("(Do Not Modify)")
    if promises().search(plain(name)):
        kept = [part for part in _CLAUSE.split(name) if not promises().search(plain(part))]
        name = " ".join(kept) or name
    return name


@cache
def _consent_name(name: str) -> Kind | None:
    """Look a name up in columns.tsv, also behind "Person - " or "Customer "."""
    found = known(name)
    for owner in NEUTRAL:
        if found is None and (folded := fold(name)).startswith(owner):
            found = known(folded[len(owner) :])
    return found.field if found is not None and found.field in {"in", "out", "status"} else None  # type: ignore[return-value]


@cache
def kind_of(name: str) -> Kind | None:
    """Say what sort of consent a header is about, or None."""
    found = known(name)
    if found is not None and found.field not in {"in", "out", "status"}:
        return None
    name = _without_promises(name)
    kind = _consent_name(name)
    if kind is None:
        return _by_words(name)
    inner = in_parentheses(name)
    if not inner or kind == "status":
        return kind
    # "Newsletter (abgemeldet)", "Marketing consent (SMS)": the parentheses change what the words before them mean.
    words, folded, listed = words_of(inner), _letters(inner), table_of_words()
    other = listed["elsewhere"].among(words, folded) and _MAIN.search(folded) is None
    if kind == "out" or listed["against"].among(words, folded):
        return "other_out" if other else "out"
    if listed["purpose"].among(words, folded) and not listed["sent"].among(words, folded):
        return None
    return "other_in" if other else "in"


def _letters(name: str) -> str:
    """Fold a name, the text in its parentheses included."""
    return "".join(words_of(name))


def _by_words(name: str) -> Kind | None:  # noqa: PLR0911 -- a ladder of readings
    folded, words, listed = _letters(name), words_of(name), table_of_words()
    if not words:
        return None
    has = {meaning: some.among(words, folded) for meaning, some in listed.items() if meaning != "anytime"}
    if has["count"] or (has["sent"] and _NUMBER_OF.search(name)):
        return None
    # A question may end with the words of "when": `… by e-mail?`.
    asked = len(folded) > _LONGEST_NAME
    other = (has["elsewhere"] or _OTHER.search(folded) is not None) and _MAIN.search(
        _OTHER.sub("", folded)
    ) is None
    about, when = _is_about(words, folded)
    if _LEFT_NAMES.match(folded):
        return "left"
    if _NOT_TO_WRITE.search(folded):
        return None
    if _not_out(words):
        return "not_out"
    topic = has["sent"] or has["topic"] or has["elsewhere"] or _IN.search(folded) is not None
    if _OUT.search(folded) or stems().search(folded) or (has["against"] and topic):
        if about and not asked:
            return "left" if when else None
        return "other_out" if other else "out"
    allowed = (has["allow"] and (has["sent"] or has["elsewhere"])) or _only_sent(words)
    if (_IN.search(folded) or allowed) and (asked or not about):
        if has["purpose"] and not has["sent"]:
            return None
        return "other_in" if other or (not has["sent"] and _of_something_else(words, folded)) else "in"
    return None


_MARKETING = re.compile(
    r"marketing|werb|newsletter|reklam|publicit|pubblicit|nyhe[td]sbrev|nieuwsbrief|markkinoin|marknadsf|markedsf"
)
_WAYS_OUT = re.compile(
    r"opt(ed)?out|unsub|exclu|block|blacklist|bounce|suppress|gesperrt|abgemeldet|desabonn|desinscri|afgemeld|avmeld|"
    r"afmeldt"
)


def _only_sent(words: tuple[str, ...]) -> bool:
    """Say whether a name is nothing but what is sent and how: "Marketing per E-Mail", "Werbung via SMS"."""
    listed = table_of_words()
    rest = [word for word in words if word not in listed["between"].whole]
    return (
        len(rest) > 1
        and _MARKETING.search(rest[0]) is not None
        and all(
            listed["sent"].among((word,), word) or listed["elsewhere"].among((word,), word) for word in rest
        )
    )


_CONSENT = folded_regex(
    r"opt(ed)?in|consent\w*|einwilligung|dsgvo|gdpr|rgpd|lgpd|rodo|kvkk|samtyck\w?|samtykke|suostumus|toestemming|souhlas|zgoda"
)


def _of_something_else(words: tuple[str, ...], folded: str) -> bool:
    """Say whether the consent is to an unknown purpose ("Zgoda rodzica"); such a yes does not allow messages."""
    if _CONSENT.search(folded) is None or _IN.search(_CONSENT.sub("", folded)):
        return False
    listed = [
        table_of_words()[meaning] for meaning in ("topic", "allow", "between", "neutral", "sent", "not")
    ]
    return any(
        word.isascii() and not any(some.among((word,), word) for some in listed) and _IN.search(word) is None
        for word in words
    )


def _not_out(words: tuple[str, ...]) -> bool:
    """Say whether a name denies an opt-out: "Not opted out", "Do not exclude from marketing"."""
    denials = table_of_words()["not"].whole
    return any(word in denials and _WAYS_OUT.match(after) for word, after in pairwise(words))


_CODE = re.compile(r"(?<!\d)(\d)\s*[=:]\s*([^,;/|)\]=:]+?)\s*(?=[,;/|)\]]|\d\s*[=:]|$)")


@cache
def legend_of(name: str) -> dict[str, str]:
    """Read the codes that a header explains: "Consent (0 = unknown; 1 = yes; 2 = no)"."""
    found = dict(_CODE.findall(name))
    return found if len(found) > 1 else {}


_TAGS = re.compile(
    r"tag(s|liste?)?$|^tags?|label|etiquet|etichet|segment|group|gruppe|list|categor|kategor|note|notiz|remark|comment|kommentar|"
    r"bemerk|anmerk|observa|opmerking|memo|备注|備考|メモ|标签|標籤|タグ|ملاحظ|הערות|notlar|uwagi|poznamk"
)


@cache
def is_tags(name: str) -> bool:
    """Say whether a column holds labels or remarks: several words, of which one may refuse."""
    return _TAGS.search(fold(name)) is not None


def refuses(text: str, *, alone: bool = True) -> bool:
    """Say whether a cell refuses: "Consent withdrawn", "Retir\u00e9"; with `alone` false only beside what is sent."""
    words, folded, listed = words_of(text), fold(text), table_of_words()
    if not words or not listed["against"].among(words, folded):
        return False
    return alone or (listed["sent"].among(words, folded) and not listed["count"].among(words, folded))


@cache
def stems() -> re.Pattern[str]:
    """Give the words that are an opt-out wherever they occur (`stem` in consent.tsv)."""
    return any_of(map(fold, words_for("consent.tsv", "stem")))
