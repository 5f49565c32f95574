"""The words around which names of people stand in feedback, and the lists of names."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from shelfqa.questions.nouns import word_set

TITLES = word_set(
    "mr mrs ms mx dr prof professor doctor herr herrn frau monsieur madame mme mlle mademoiselle señor senor señora",
    "senora señorita srta sr sra signor signora signore sig dott smt shri mister",
)
NOT_AFTER_TITLES = word_set(
    "coffee clean beams heater potato muscle bubble fields meyer's meyer’s meyers martens bronner bronner's",
    "bronners bronner’s scholl scholl's scholls scholl’s seuss pepper brown's browns teal's teals dre oetker",
    "beckmann best hauschka who strange doom right wonderful bean incredible men claus robot fix it holle and or",
    "office word excel squeaky dash t rex peanut plant lube pen goodbar big fox bones love evil house marten denim",
    "jart",
)
POSSESSIVES = word_set(
    "my our his her their your mein meine meinem meiner meinen unser unsere mon ma mes notre mi mis nuestro nuestra",
    "mio mia",
)
KIN = word_set(
    "kids children sons daughters boys girls twins grandkids grandchildren husband wife son daughter mom mum dad",
    "mother father sister brother friend girlfriend boyfriend partner fiance fiancee neighbor neighbour boss",
    "colleague coworker aunt uncle cousin nephew niece grandson granddaughter grandma grandpa grandmother",
    "grandfather baby kid toddler child roommate flatmate landlord teacher stepson hubby bestie buddy bf gf mann",
    "frau sohn tochter mutter vater schwester bruder freund freundin oma opa enkel enkelin kollege kollegin nachbar",
    "nachbarin chef mari femme fils fille mere pere soeur frere ami amie copain copine voisin voisine marido esposo",
    "esposa mujer hijo hija madre padre hermana hermano amigo amiga novio novia vecino vecina marito moglie figlio",
    "figlia sorella fratello amico amica nonna nonno vicino vicina mother-in-law father-in-law sister-in-law",
    "brother-in-law daughter-in-law son-in-law step-son step-daughter stepdaughter belle-fille belle-mere",
    "belle-soeur beau-pere beau-frere schwiegermutter schwiegervater schwiegertochter schwiegersohn suegra suegro",
    "suocera suocero nipote neveu nieta nieto",
)
ROLES = word_set(
    "agent rep representative manager supervisor courier technician advisor adviser assistant employee associate",
    "operator chap bloke fella dude installer plumber nurse clerk cashier driver guy lady man woman gentleman girl",
    "boy mailman postman electrician plumber fahrer verkaufer verkauferin mitarbeiter mitarbeiterin livreur vendeur",
    "vendeuse conseiller conseillere conductor repartidor vendedor vendedora agente corriere autista venditore",
    "commesso commessa seller contact customer colleague person owner",
)
SPOKE = word_set(
    "spoke speak speaking spoken talked talk talking chatted chat chatting dealt gesprochen parle parlai hable",
    "parlato telefoniert spoke",
)
WITH = word_set("with to mit avec con")
REACHED = word_set(
    "emailed e-mailed messaged contacted called texted asked contact ask called phoned told met thank thanks",
)
CLOSERS = word_set(
    "thanks thank thx ty cheers regards sincerely best wishes truly faithfully warmly love greetings respectfully",
    "yours gruße grusse gruße gruß gruss mfg lg vg danke dank cordialement merci amicalement salutations bien vous",
    "saludos saludo gracias atentamente saluti grazie cordialita signed you",
)
GREETINGS = word_set(
    "hi hello hey dear hola bonjour liebe lieber hallo ciao caro cara gentile estimado estimada cher chere",
)
INTRODUCTIONS = {
    ("i", "am"), ("this", "is"), ("it", "is"), ("ich", "bin"), ("je", "suis"), ("hier", "ist"), ("yo", "soy"),
    ("name", "is"), ("name", "ist"), ("nom", "est"), ("nombre", "es"), ("nome", "e"),
}  # fmt: skip
ONE_WORD_INTRODUCTIONS = word_set("i'm i’m im its it's it’s soy sono")
NAMINGS = {
    ("name", "was"), ("name", "is"), ("name", "ist"), ("nom", "est"), ("nombre", "es"), ("nome", "e"),
    ("ich", "heisse"), ("ich", "heiße"), ("me", "llamo"), ("mi", "chiamo"),
}  # fmt: skip
ONE_WORD_NAMINGS = word_set("name's name’s m'appelle m’appelle")
CALLED = word_set("named called namens nomme nommee llamado llamada chiamato chiamata")
LABELS = word_set(
    "to name recipient attn customer buyer signed nom nombre nome kunde client cliente destinatario empfanger",
)
ACTS = word_set(
    "said says told tells helped answered replied called emailed assisted promised refused packed loves loved likes",
    "liked wears wanted wants thinks thought asked explained offered went hates hated sent recommended apologized",
    "apologised suggested uses used picked ordered delivered left resolved fixed handled",
)
PERSONAL = word_set(
    "very so really super extremely incredibly quite most always not helpful kind nice rude friendly polite",
)
LEADING = word_set(
    "by for to with and from told tell asked ask see saw called call emailed met meet thank thanks that when but",
    "because gave give sent send helped help says let fur pour para per a an with",
)
AFTER_WORDS = word_set("from at with here and calling aus von de da")
AND = word_set("and & und et y e")
NO_INITIALS = word_set("id us uk usa ac dc tv pc pm am ps led lcd eu la dj")
PRAISED = word_set("kudos out props credit off hats thanks")
TRIGGERS = TITLES | KIN | WITH | CLOSERS | LABELS | ONE_WORD_NAMINGS | {last for _, last in NAMINGS} | {"by"}
ABBREVIATED = word_set("md mohd")
SAINTS = word_set("san santa saint st sankt los las el la fort port")
PARTICLES = word_set("de la van von der den del di da le el bin al ten ter dos du")


class Lists(NamedTuple):
    """The sections of `first_names.txt`."""

    first: frozenset[str]
    wordy: frozenset[str]
    surnames: frozenset[str]
    brands: frozenset[str]
    never: frozenset[str]


@lru_cache(maxsize=1)
def lists() -> Lists:
    """Return the words that tell names, read from the file beside this one."""
    sections: dict[str, list[str]] = {}
    for line in Path(__file__).with_name("first_names.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            section.append(line)
    brands = frozenset(name.strip() for name in " ".join(sections["brands"]).split(","))
    first, wordy, surnames, never = (
        word_set(*sections[name]) for name in ("first names", "names that are words", "surnames", "not names")
    )
    return Lists(first, wordy, surnames, brands, never)


@lru_cache(maxsize=1 << 16)
def fold(word: str) -> str:
    """Return the word in lower case, without accents and the genitive s.

    >>> fold("José"), fold("Karen's"), fold("O'Brien")
    ('jose', 'karen', "o'brien")
    """
    low = word.lower().removesuffix("'s").removesuffix("’s")
    if low.isascii():
        return low
    return "".join(sign for sign in unicodedata.normalize("NFKD", low) if not unicodedata.combining(sign))
