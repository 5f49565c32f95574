"""The patterns of personal data that is written in figures or signs: links, mail, cards, orders, telephones.

Each repetition is bounded or cannot overlap what follows it, so that a search takes time in proportion to the text. No
pattern matches the square brackets of a placeholder, so that what is redacted stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from shelfqa.questions.nouns import word_set

Check = Callable[[re.Match[str]], int]
"""Returns where the datum in a match ends, or -1 where the match is none after all."""


class Pattern(NamedTuple):
    """What a kind of datum looks like; group `x` of the expression is the datum, or all of it is where there is none.

    Where `words` are given it is tried only where one of them starts; `near_figures` says that a figure must be near.
    """

    kind: str
    expression: re.Pattern[str]
    check: Check | None = None
    words: frozenset[str] = frozenset()
    near_figures: bool = True


def datum(found: re.Match[str]) -> tuple[int, int]:
    """Return where the datum in a match of a pattern starts and ends."""
    return found.span("x") if "x" in found.re.groupindex else found.span()


def one_of(words: frozenset[str]) -> str:
    """Return the expression of any of the words, the longest first, with nothing of a word after it."""
    return rf"(?:{'|'.join(sorted(map(re.escape, words), key=lambda word: (-len(word), word)))})(?![^\W\d_])"


GAP = r"[ \t\u00a0\u202f]"

# ---- links, mail, handles
_SITES = word_set(
    "facebook fb instagram twitter x linkedin tiktok youtube pinterest snapchat reddit etsy github ebay vk threads",
    "discord tumblr twitch paypal venmo flickr vimeo poshmark depop vinted",
)
_SHORT_SITES = r"(?:t|wa|fb|paypal|m)\.me|youtu\.be|bit\.ly|linktr\.ee|goo\.gl|discord\.gg|cash\.app"
_TLD = (
    r"(?:com|net|org|info|edu|gov|io|me|de|fr|es|it|in|jp|uk|co|eu|ca|au|us|ch|at|nl|be|ie|pl|br|mx|biz|app|shop"
    r"|blog|site)"
)
_LOCAL = r"(?<![\w.+%&'’-])[\w.+%&'’-]+"
_AT = r"(?:\s{0,2}[(\[{<]\s?(?:at|arroba|chez|@)\s?[)\]}>]\s{0,2})"
_SPELT_DOT = r"(?:\s?[(\[{<]\s?(?:dot|punkt|punto|point)\s?[)\]}>]\s?|\s(?:dot|punkt|punto|point)\s)"
_DOT = rf"(?:\s?\.\s?|{_SPELT_DOT})"
_MESSENGERS = word_set(
    "insta instagram ig snap snapchat telegram tiktok twitter skype discord",
)

# ---- order numbers
_NUMBER_WORDS = word_set(
    "no nr num number numbers numéro numero número nummer id code codice código n nº",
)
_NUMBER = r"(?:\#|n[o°º]\b\.?|n[°º]|n\.|nr\b\.?|num\b\.?|numbers?|num[eé]ro|número|nummer|id\b|code|codice|código)"
_ORDER_WORDS = word_set(
    "order orders ord po invoice inv receipt tracking track case ticket rma claim transaction confirmation shipment",
    "parcel consignment authorization authorisation booking customer account acct return refund complaint incident",
    "delivery commande facture suivi colis dossier client livraison expédition pedido factura seguimiento envío",
    "envio cliente reclamación devolución ordine fattura spedizione tracciamento reso pratica",
)
_GERMAN_ORDER_WORDS = frozenset(
    stem + ending
    for stem in word_set(
        "bestell bestellung bestellungs auftrag auftrags rechnung rechnungs sendung sendungs kunden vorgang vorgangs",
        "ticket lieferschein retoure retouren paket",
    )
    for ending in ("", "nummer", "nr", "id")
) | word_set("fallnummer fallnr")
_ORDER = rf"(?:p\.o\.|{one_of(_ORDER_WORDS | _GERMAN_ORDER_WORDS)}(?:[ ]ref(?:erence)?(?![^\W\d_]))?)"
_IS = r"[ ]?(?:is|was|are|were|ist|est|es|è)?[ :=.\#]{0,4}"
_UNITS = (
    r"(?!\s?(?:mah|wh|pcs|pieces?|x\b|×|mm|cm|ml|kg|g\b|lbs?|oz|lumens?|lm|dpi|rpm|hours?|days?|times|stars?|watts?"
    r"|volts?|units?|stück|pièces?|piezas|pezzi|euros?|dollars?|usd|eur|€|\$|£|%))"
)
_FIGURED = r"(?:[A-Z]{0,4}-?\d{5,20}(?:-\d{1,12}){0,3}|[A-Z]{2,4}-?\d{2,4}(?:-\d{3,12}){1,2})"
_MORE = rf"(?:(?:,[ ]?|[ ](?:and|und|et|y|e|&)[ ]){_FIGURED}(?![\w-])){{0,9}}"
_CODE = r"(?P<x>[A-Z0-9](?:[A-Z0-9]|[-/_.](?=[A-Z0-9])){2,39}" + _MORE + ")"
_LONG_CODE = rf"(?P<x>{_FIGURED}{_MORE})(?![\w-]|[.,]\d){_UNITS}"

# ---- telephones
_NOT_IN_NUMBER = r"(?<![\w+$€£#])(?<![\w\]][.,/:-])"
_NUMBER_ENDS = r"(?![\w\[])(?![-.,/]\d)"
_PHONE_WORDS = word_set(
    "call called calling phone telephone tel mobile cell cellphone text texted texting sms whatsapp fax contact",
    "reach reached ring dial dialled dialed hotline telefon telefonnummer handy handynummer mobil mobilnummer",
    "rufnummer anrufen ruf rufen robocall robocalls calls otp mob cel gsm natel tagsüber rückruf joignable",
    "téléphone tél portable appeler appelez appelle teléfono tlf tfno móvil movil llamar llame llámame llamame",
    "llámanos telefono cellulare chiamare chiamami chiama number numéro",
)
_TO_NUMBER = (
    r"(?:[ \t\u00a0:=.,(-]{1,2}(?:me|moi|us|him|her|them|back|at|on|is|my|the|this|number|no|nr|here|to|unter|auf|au"
    r"|al|a"
    r"|il|el|es|ist|lautet|est|è|le|numéro|número|numero|:|\#|-|\()(?![^\W\d_])){0,5}[ \t\u00a0:=.,(]{0,3}"
)


def _url_end(found: re.Match[str]) -> int:
    """Leave out the punctuation after a link."""
    kept = found[0].rstrip(".,;:!?)'’»*_")
    return found.start() + len(kept) if (len(kept) > 7 and not kept.endswith("/")) or len(kept) > 12 else -1


def _is_card(found: re.Match[str]) -> int:
    digits = [int(figure) for figure in found[0] if figure.isdecimal()]
    total = sum(digits[-1::-2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return found.end() if total % 10 == 0 and len(set(digits)) > 2 else -1


_IBAN_LENGTHS = {
    code[:2]: int(code[2:])
    for code in word_set(
        "AT20 BE16 BG22 CH21 CY28 CZ24 DE22 DK18 EE20 ES24 FI18 FR27 GB22 GR27 HR21 HU28 IE22 IT27 LI21 LT20 LU20 LV21",
        "MC27 MT31 NL18 NO15 PL28 PT25 RO24 SE24 SI19 SK24 SM27 TR26 AE23 SA24 IL23",
    )
}


def _iban_end(found: re.Match[str]) -> int:
    """Return where the country's number of characters is reached, if the check figures are right (ISO 13616)."""
    places = [place for place in range(found.start(), found.end()) if found.string[place].isalnum()]
    length = _IBAN_LENGTHS.get(found[0][:2].upper(), 99)
    if len(places) < length:
        return -1
    code = "".join(found.string[place] for place in places[:length])
    value = int("".join(str(int(figure, 36)) for figure in code[4:] + code[:4]))
    end = places[length - 1] + 1
    return end if value % 97 == 1 and not found.string[end : end + 1].isalnum() else -1


def _has_figures(found: re.Match[str]) -> int:
    return found.end("x") if sum(figure.isdecimal() for figure in found["x"]) >= 2 else -1


_PRODUCT_NUMBER = re.compile(
    r"\b(?:serial|isbn(?:-1[03])?|model|part|item|lot|sku|upc|ean|gtin|hex|batch)\b[^\n.!?]{0,16}\Z", re.IGNORECASE
)


def _figures(least: int, most: int = 15) -> Check:
    """Return a check that a telephone has so many figures, neither sizes nor years nor a number of the product."""

    def check(found: re.Match[str]) -> int:
        start, end = datum(found)
        groups = re.findall(r"\d+", found.string[start:end])
        round_ones = sum(group.endswith(("00", "50")) for group in groups if len(group) == 3)
        years = all(len(group) == 4 and group[:2] in ("19", "20") for group in groups)
        threes = len(groups) > 3 and all(len(group) == 3 for group in groups)
        if not least <= sum(map(len, groups)) <= most or round_ones > 1 or years or threes:
            return -1
        product = found.string[start] != "+" and _PRODUCT_NUMBER.search(found.string[max(0, start - 28) : start])
        return -1 if product else end

    return check


def compiled(kind: str, *pieces: str, check: Check | None = None, words: frozenset[str] = frozenset()) -> Pattern:
    """Return a pattern that takes capitals and small letters for the same, of pieces that follow each other."""
    return Pattern(kind, re.compile("".join(pieces), re.IGNORECASE), check, words)


_LINKS = (
    compiled("URL", r"(?:https?://|www\.)[^\s<>\"\[\]]+", check=_url_end, words=word_set("http https www")),
    compiled("URL", rf"(?<![\w@-])(?:{one_of(_SITES)}\.(?:com|net|org|me|gg|tv)|{_SHORT_SITES})/[^\s<>\"\[\]]+",
        check=_url_end, words=_SITES | word_set("t wa m youtu bit linktr goo cash")),
    compiled("URL", rf"(?<![\w@.-])[\w-]{{2,40}}(?:\.[\w-]{{2,40}}){{0,3}}\.{_TLD}/[^\s<>\"\[\]]+", check=_url_end),
    compiled("EMAIL", _LOCAL, r"[@＠](?:[\w-]+(?:\.[\w-]+)+|(?:ok\w{2,9}|upi|paytm|ybl|ibl|axl|apl)\b)"),
    compiled("EMAIL", _LOCAL, rf"(?:{_SPELT_DOT}[\w+-]+){{0,3}}{_AT}[\w-]+(?:(?:\.|{_SPELT_DOT})[\w-]+){{1,4}}"),
    compiled("EMAIL", _LOCAL, rf"\s(?:at|@|arroba)\s[\w-]+(?:{_SPELT_DOT}[\w-]+|\.[\w-]+){{0,2}}{_DOT}{_TLD}\b"),
    compiled("HANDLE", r"(?<![\w@./\]])@(?!(?:home|work|night|least|all|my|the|school|once)\b)[^\W\d][\w.]{1,29}"
        r"(?<!\.)"),
    compiled("HANDLE", r"(?<![\w/])u/[\w-]{3,20}", words=word_set("u")),
    compiled("HANDLE", one_of(_MESSENGERS), r"(?:\s(?:handle|id|name|user|username))?(?:\s?[:=]\s?|\sis\s"
        r"|\shandle\s)@?",
        r"(?!(?:the|a|an|not|my|so|very|where|how|great|down)\b)(?P<x>\w[\w.]{2,29}(?:\#\d{4})?)(?<!\.)",
        words=_MESSENGERS),
)  # fmt: skip
_CARDS = (
    compiled("CARD", r"(?<![\w-])(?:[2-6]\d{3}([ -]?)\d{4}\1\d{4}\1\d{4}|3[47]\d{2}([ -]?)\d{6}\2\d{5}",
        r"|3[068]\d{2}[ -]\d{6}[ -]\d{4})(?![\w-])", check=_is_card),
    compiled("CARD", r"\w{4,7}[^\d\n\[\]]{0,20}(?P<x>\d{4}([ -])\d{4}\2\d{4}\2\d{4})\b",
        words=word_set("card karte carte tarjeta carta kreditkarte")),
    compiled("CARD", r"\w{4,10}\s(?:number\s)?(?:that\s)?(?:ending|ends)\s(?:in|with)?\s?[*x.]{0,8}(?P<x>\d{4})\b",
        words=word_set("card visa mastercard amex account")),
    compiled("CARD", r"\b[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]){11,34}", check=_iban_end),
)  # fmt: skip
_ORDERS = (
    compiled("ORDER", r"(?<![\w-])(?:\d{3}|D\d\d)([ -])\d{7}\1\d{7}(?![\w-])"),
    compiled("ORDER", r"\b(?:1Z(?:[ ]?[0-9A-Z]){16}|TBA\d{12}|9[2-5]\d{20}|[A-Z]{2}\d{9}[A-Z]{2}|JJD\d{14,18})\b"),
    compiled("ORDER", rf"(?<!\[){_ORDER}[ -]{{0,2}}(?:(?:de|of|di|d['’]|del)\s?\w{{0,12}}\s?)?(?:{_NUMBER}|(?<=n[rR])"
        rf"|(?<=[nN]ummer)|(?<=id)){_IS}{_CODE}", check=_has_figures,
        words=_ORDER_WORDS | _GERMAN_ORDER_WORDS | word_set("p")),
    compiled("ORDER", r"\w{3,8}(?:[ ](?:tracking|number|no\.?|id|is|\#|:)){0,3}[ :\#]{1,3}(?P<x>\d{4}(?:"
        r"[ ]\d{4}){2,5})\b",
        words=word_set("tracking track fedex ups dhl usps hermes dpd gls evri")),
    compiled("ORDER", rf"{_NUMBER}[ ](?:de[ ]|d['’]|di[ ]|for[ ]my[ ]|of[ ](?:my[ ])?)?(?:la[ ])?{_ORDER}{_IS}{_CODE}",
        check=_has_figures, words=_NUMBER_WORDS),
    compiled("ORDER", rf"(?<!\[){_ORDER}[ ]?(?:is|was|ist|est|es|è|:)?[ ]{_LONG_CODE}",
        words=_ORDER_WORDS | _GERMAN_ORDER_WORDS | word_set("p")),
)  # fmt: skip
_PHONES = (
    compiled("PHONE", r"(?<![\w$€£#])(?:\+|00(?=[1-9]\d{0,2}[ ./(-]))[ ]?[1-9]\d{0,2}(?:"
        r"[ ./-]{0,2}\(?\d{1,12}\)?){1,7}",
        check=_figures(8)),
    compiled("PHONE", _NOT_IN_NUMBER, r"(?:1[ .-])?(?:\([2-9]\d\d\)[ ]?\d{3}[ .-]?\d{4}|[2-9]\d\d[ .-]\d{3}"
        r"[ .-]\d{4})", _NUMBER_ENDS,
        check=_figures(10)),
    compiled("PHONE", _NOT_IN_NUMBER, r"\(?0[1-9](?:\d{8,9}|(?:[ .-]\d\d){4}",
        r"|\d{0,3}\)?[ /-]{1,3}\d{2,9}(?:[ -]\d{1,6}){0,4})", _NUMBER_ENDS, check=_figures(9, 12)),
    compiled("PHONE", _NOT_IN_NUMBER, r"(?:[6-9]\d\d[ .]\d{3}[ .]\d{3}|3[2-9]\d[ ./-]\d{3}[ ]?\d{4}|[6-9]\d{4}"
        r"[ -]\d{5}",
        r"|[67]\d\d(?:[ ]\d\d){3}|9\d[ ]\d{3}[ ]\d\d[ ]\d\d)", _NUMBER_ENDS, check=_figures(9)),
    compiled("PHONE", one_of(_PHONE_WORDS), rf"(?<!number){_TO_NUMBER}(?P<x>\(?\d[\d ().-]{{4,16}}\d)", _NUMBER_ENDS,
        _UNITS, check=_figures(7), words=_PHONE_WORDS - {"number"}),
    compiled("PHONE", rf"(?:my[ ]number(?:['’]s)?|number[ ]is){_TO_NUMBER}(?P<x>\(?\d"
        rf"[\d ().-]{{4,16}}\d)", _NUMBER_ENDS,
        check=_figures(7), words=word_set("my number")),
    compiled("PHONE", one_of(_PHONE_WORDS), r"(?:(?!\b(?:model|item|part|serial|isbn|sku|order|case|upc|ean)\b)"
        r"[^\d\n\[\]]){1,30}",
        rf"{_NOT_IN_NUMBER}(?P<x>\(?\d(?:"
        rf"[ ().-]{{0,3}}\d){{8,13}})", _NUMBER_ENDS, _UNITS, check=_figures(9),
        words=_PHONE_WORDS - word_set("number numéro contact reach reached ring portable")),
    compiled("PHONE", _NOT_IN_NUMBER, r"\(?\d(?:[ ().-]{0,3}\d){8,13}(?=[ ,]{1,2}(?:call|text|ring|phone|whatsapp)\b)",
        check=_figures(9)),
    compiled("PHONE", _NOT_IN_NUMBER, r"\(?\d{3}\)?[ .-]?\d{3}[ .-]?\d{4}(?=[ ](?:is|ist)[ ](?:my|meine)|[ ]?"
        r"[をに]電話)"),
)  # fmt: skip
BEFORE_ADDRESSES = tuple(
    pattern._replace(near_figures=pattern.kind in ("CARD", "ORDER")) for pattern in (*_LINKS, *_CARDS, *_ORDERS)
)
"""Those that an address must not take from."""
AFTER_ADDRESSES = _PHONES
"""Those that must not take a postcode."""
