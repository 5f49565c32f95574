"""The patterns of postal addresses: American, British, German, French, Spanish, Italian, Indian and Japanese."""

from __future__ import annotations

import re

from shelfqa.questions.nouns import word_set
from shelfqa.questions.redaction_patterns import GAP, Pattern, compiled, one_of

_UP = "A-ZÀ-ÖØ-ÞĀĂĄĆČĎĐĒĖĘĚĞĪİŁŃŇŌŐŒŘŚŞŠŢŤŪŮŰŹŻŽ"
_STATE = (
    r"(?:A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|P[AR]|RI|S[CD]|T[NX]|UT|V[AT]"
    r"|W[AIVY]"
    r"|Alabama|Alaska|Arizona|Arkansas|California|Colorado|Connecticut|Delaware|Florida|Georgia|Hawaii|Idaho|Illinois"
    r"|Indiana|Iowa|Kansas|Kentucky|Louisiana|Maine|Maryland|Massachusetts|Michigan|Minnesota|Mississippi|Missouri"
    r"|Montana|Nebraska|Nevada|New[ ](?:Hampshire|Jersey|Mexico|York)|(?:North|South)[ ](?:Carolina|Dakota)|Ohio"
    r"|Oklahoma|Oregon|Pennsylvania|Rhode[ ]Island|Tennessee|Texas|Utah|Vermont|Virginia|Washington|Wisconsin|Wyoming)"
)
_POSTCODE = (
    r"(?:A[BL]|B[ABDHLNRST]?|C[ABFHMORTVW]|D[ADEGHLNTY]|E[CHNX]?|F[KY]|G[LUY]?|H[ADGPRSUX]|I[GMPV]|JE|K[ATWY]|L"
    r"[ADELNSU]?"
    r"|M[EKL]?|N[EGNPRW]?|O[LX]|P[AEHLOR]|R[GHM]|S[AEGKLMNOPRSTWY]?|T[ADFNQRSW]|UB|W[ACDFNRSV]?|YO|ZE)"
    r"\d[A-HJKPSTUW\d]?[ ]\d(?!GB|TB|FT|WW)[ABD-HJLNP-UW-Z]{2}\b"
)
_PLACE = rf"(?:(?:St|Ft|Mt)\.|[{_UP}][\w'’]{{1,30}})"
_CITY = rf"{_PLACE}(?:[ -]{_PLACE}){{0,2}}"
_US_TOWN = rf"(?:{_CITY},?{GAP}{{1,3}}{_STATE}\b(?:,?{GAP}{{1,3}}\d{{5}}(?:-\d{{4}})?\b)?)"
_TOWN = (
    rf"(?:,?\s{{1,3}}(?:{_US_TOWN}|(?:{_CITY},?{GAP}{{1,3}})?{_POSTCODE}"
    rf"|{_CITY}{GAP}?[-–,]?{GAP}?[1-8]\d{{2}}{GAP}?\d{{3}}\b))"
)
_EU_TOWN = (
    rf"(?:(?:,|{GAP}[-–])?\s{{1,3}}(?:[DFIE]-)?(?:\d{{5}}|CH-\d{{4}}|A-\d{{4}}){GAP}{_CITY}(?:{GAP}?\([A-Z]{{2}}\))?)"
)

# ---- streets in English
_WORD = rf"(?:[{_UP}][\w'’.-]{{0,30}}|\d{{1,3}}(?:st|nd|rd|th))"
_NOT_A_STREET = (
    r"(?!(?i:inch(?:es)?|in|ft|feet|foot|packs?|pc|pcs|pieces?|sets?|ways?|speeds?|stars?|persons?|people|years?"
    r"|months?"
    r"|days?|hours?|watts?|volts?|amps?|outlets?|ports?|count|ct|mm|cm|m|kg|lbs?|oz|ml|mah|gb|tb|x|by|to|of|and|or"
    r"|the|for"
    r"|per|percent|degrees?|tier|layers?|doors?|drawers?|gallons?|quarts?|liters?|litres?|players?|lights?|wheels?"
    r"|gears?"
    r"|holes?|slots?|bays?|channels?|axis|d|k|hz|lanes?|pairs?|more|new|different|weeks?|minutes?|rows?|drives?|courts?"
    r"|square|place|street|road)\b)"
)
_STREET = (
    r"(?:(?i:Street|St)|Str|Avenue|Ave?|Road|Rd|Boulevard|Blvd|Lane|Ln|Terrace|Crescent|Cres|Parkway|Pkwy|Highway|Hwy"
    r"|Turnpike|Expressway|Mews)\b\.?"
)
_VAGUE_STREET = (
    r"(?:Drive|Dr|Court|Ct|Place|Pl|Square|Sq|Way|Ter|Circle|Cir|Trail|Trl|Close|Gardens|Grove|Row|Loop|Plaza|Park|Hill"
    r"|Walk|Nagar|Marg|Layout|Colony|Cross|Main)\b\.?"
)
_UNIT = (
    rf"(?:,?{GAP}{{0,3}}(?:\b(?:Apt|Apartment|Unit|Suite|Ste|Flat|Floor|Fl|Rm|Room|Lot|NW|NE|SW|SE|[NSEW])\b\.?|\#)"
    rf"{GAP}?(?:\#?\d\w{{0,5}}|[A-Z]\b)?){{0,2}}"
)
_HOUSE = r"(?<![\w.,/$€£-])\d{1,6}(?:-\d{1,4})?[A-Za-z]?,?"
_LIVE = word_set(
    "live lives living lived reside resides resided stay ship ships shipped shipping sent send deliver delivers",
    "delivered delivery deliveries mail mailed moved address it came located house home office apartment went",
    "collect collected",
)
_WENT = word_set(
    "house home flat apartment shipped sent delivered live lives lived moved mailed went left",
)

# ---- streets elsewhere
_LINK = r"(?:de|du|des|del|della|delle|dei|dello|di|la|las|los|el|le|les)"
_LINKED = rf"(?:{GAP}{_LINK}(?={GAP})){{0,2}}"
_NAMED = rf"(?:{GAP}(?:(?:de{GAP})?(?:d|l|dell)['’])?[{_UP}][\w'’.-]{{0,30}}){{1,4}}"
_FRENCH_HOUSE = r"(?<![\w.,])\d{1,4}(?:[ ]?(?:bis|ter|quater))?,?[ ]"
_SOUTHERN_STREETS = word_set(
    "calle avenida avda av plaza paseo carrer carretera ronda camino via viale piazza piazzale corso largo vicolo",
    "strada contrada c rua travessa ul",
)
_SOUTHERN_STREET = (
    r"(?:[Cc]alle|C/|[Aa]venida|[Aa]vda\.?|[Aa]v\.|[Pp]laza|[Pp]aseo|[Cc]arrer|[Cc]arretera|Ronda|Camino|[Vv]ia|"
    r"[Vv]iale"
    r"|[Pp]iazza|[Pp]iazzale|[Cc]orso|Largo|[Vv]icolo|Strada|Contrada|Rua|Travessa|[Uu]l\.)"
)
_NO_TECHNIQUE = (
    r"(?!\s(?:Bluetooth|USB|Wi-?Fi|WLAN|HDMI|App|Micro|Kabel|Cable|Amazon|Type|Aux|SMS|Zigbee|Alexa|Mail"
    r"|Email|Lightning))"
)
_FLOOR = r"(?:,?\s{1,2}(?:\d{1,2}\s?[º°ª]\s?[A-Z]?\b|piso\s\d{1,2}\b|int\.?\s\d{1,3}\b|esc\.?\s\w\b)){0,2}"
_INDIAN_CITIES = word_set(
    "mumbai delhi bengaluru bangalore hyderabad chennai kolkata pune ahmedabad jaipur lucknow surat kanpur nagpur",
    "indore bhopal patna vadodara gurgaon gurugram noida ghaziabad coimbatore kochi cochin chandigarh mysuru mysore",
    "visakhapatnam thane nashik agra varanasi ranchi bhubaneswar thiruvananthapuram trivandrum guwahati dehradun",
    "maharashtra karnataka telangana kerala gujarat rajasthan punjab haryana nadu pradesh bengal bihar",
)


def _exact(*pieces: str, words: frozenset[str] = frozenset(), near_figures: bool = True) -> Pattern:
    return Pattern("ADDRESS", re.compile("".join(pieces)), None, words, near_figures)


def _any_case(*pieces: str, words: frozenset[str] = frozenset()) -> Pattern:
    return compiled("ADDRESS", *pieces, words=words)


ADDRESSES = (
    _any_case(r"(?:P\.?[ ]?O\.?[ ]?Box|Postfach|Apartado(?:[ ]de[ ]correos)?|Casella[ ]postale|Bo[iî]te[ ]postale)",
        rf"[ :#]{{1,3}}(?P<x>\d[\d ]{{0,9}}\d?{_TOWN}?)",
        words=word_set("p po pobox postfach apartado casella boite boîte")),
    _any_case(r"(?:Flat|Plot|House|H\.?[ ]?No|Door[ ]No|Shop)\.?[ ]?(?:No\.?)?[ ]?\#?\d[\w/-]{0,9},",
        r"[^\n\[\]]{3,100}?[ ,-][1-8]\d{2}[ ]?\d{3}\b", words=word_set("flat plot house h hno door shop")),
    _exact(rf"{_HOUSE}{GAP}{{1,3}}(?:{_NOT_A_STREET}{_WORD}{GAP}{{1,2}}){{1,4}}(?:{_STREET}{_UNIT}",
        rf"(?:{_TOWN}|(?!{GAP}{{1,3}}[{_UP}]))|{_VAGUE_STREET}{_UNIT}{_TOWN})"),
    _any_case(rf"{one_of(_LIVE)}(?:[ :]{{1,3}}(?:to|at|on|in|is|from|the|my|me|it|them|us|here|old|wrong|address"
        rf"|home|house"
        rf"|this|package|an|a|nr|near|up)\b){{0,4}}[ :]{{1,3}}(?P<x>\d{{1,6}}[A-Z]?,?{GAP}{{1,2}}",
        rf"(?:{_NOT_A_STREET}[\w'’.-]{{1,30}}{GAP}{{1,2}}){{1,4}}?(?:{_STREET}|{_VAGUE_STREET}){_UNIT}{_TOWN}?)",
        words=_LIVE),
    _exact(rf"(?i:\w{{2,4}})[ ](?P<x>{_HOUSE}{GAP}{{1,3}}(?:{_NOT_A_STREET}{_WORD}{GAP}{{1,2}}){{1,4}}{_VAGUE_STREET}",
        rf"(?!{GAP}{{1,3}}[{_UP}]))", words=word_set("at to from in")),
    _exact(r"(?i:\w{4,9}(?:[ ](?:it|me|them|mine))?[ ](?:to|on|at|in)[ ])",
        rf"(?P<x>(?:[{_UP}][\w'’-]{{1,30}}[ ]){{1,3}}(?:{_STREET}|Drive|Court|Close|Gardens|Grove))",
        words=_WENT, near_figures=False),
    _exact(rf"\b{_CITY},[ ]{_STATE}[ ]\d{{5}}(?:-\d{{4}})?\b"),
    _any_case(r"zip(?:[ -]?code)?(?:[ ]is|:)?[ ](?P<x>\d{5}(?:-\d{4})?)\b", words=word_set("zip zipcode")),
    _exact(rf"(?<![\w-])(?:{_POSTCODE})"),
    _any_case(r"post ?code(?:[ ]is|:)?[ ](?P<x>[A-Z]{1,2}\d[A-Z\d]?[ ]?\d[A-Z]{2})\b", words=word_set("postcode post")),
    _exact(rf"\b[{_UP}][\w-]{{0,30}}(?:straße|strasse|str\.|gasse|allee|chaussee)[ ]\d{{1,4}}[ ]?(?:"
        rf"[a-z]\b)?{_EU_TOWN}?"),
    _exact(rf"\b[{_UP}][a-zäöüß][\w.-]{{0,30}}(?:[ ](?:[{_UP}][\w.-]{{0,30}}|den|der|dem)){{0,3}}[ ]\d{{1,4}}[ ]?(?:"
        rf"[a-z]\b)?",
        rf"(?=,|\n){_EU_TOWN}"),
    _exact(_FRENCH_HOUSE, r"(?i:rue|boulevard|bd|all[ée]e|chemin|impasse|quai"
        r"|faubourg)\b", rf"{_LINKED}{_NAMED}{_EU_TOWN}?"),
    _exact(_FRENCH_HOUSE, r"(?i:avenue|av\.|place|route|cours|square|passage|r[ée]sidence)(?![ ](?:Feet|Foot|Ft|Inch"
        r"|Meter|Metre|Mat|Set))",
        rf"(?:(?=[ ](?:{_LINK}\b|[dl]['’])){_LINKED}{_NAMED}{_EU_TOWN}?|{_NAMED}{_EU_TOWN})"),
    _exact(rf"(?<![\w.]){_SOUTHERN_STREET}{_NO_TECHNIQUE}{_LINKED}{_NAMED},?[ ](?:n[.ºo°]{{1,2}}[ ]?)?",
        rf"\d{{1,4}}(?:/?[A-Za-z]\b)?(?!\w|[.,]\d){_FLOOR}{_EU_TOWN}?", words=_SOUTHERN_STREETS),
    _any_case(r"\w{4,18}(?:[ ]?[-–,]?[ ]?|[ ]pin[ ])[1-8]\d{2}[ ]?\d{3}\b", words=_INDIAN_CITIES),
    _any_case(r"pin[ -]?code(?:[ ]is|[ ]?[:-])?[ ]?(?P<x>(?!123456)[1-8](?!0{5}|1{5}|8{5})\d{2}[ ]?\d{3})\b",
        words=word_set("pin pincode")),
    _exact(r"〒[ ]?(?P<x>\d{3}-?\d{4}(?:\s?[^\s\[\]、。]{1,40})?)"),
    _exact(r"[一-龥]{2,3}[都道府県][一-龥ぁ-んァ-ヶー]{1,12}[市区町村][^\s\[\]、。\d]{0,20}\d[\d丁目番地号−-]{0,12}"),
)  # fmt: skip
