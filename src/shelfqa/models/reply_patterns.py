"""The turns of phrase that `shelfqa.models.replies` knows, as regular expressions; English."""

from __future__ import annotations

import re
from collections.abc import Mapping


def _any_case(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


# What is asked

YES_NO_QUESTION = _any_case(
    r"^\W*(?:is|are|was|were|does|do|did|has|have|had|can|could|will|would|should|may|isn't|aren't|doesn't|don't)\b"
)
COUNT_QUESTION = _any_case(r"\bhow many\b|\b(?:the|total|what) (?:number|count) of\b")
TEXT_QUESTION = _any_case(
    r"\b(?:words?|text|phrase|slogan|letters?|initials?|logo|brand|says?|reads?|written|spell(?:s|ed)?|name|title|quote)\b"
)
ASKED_VERB = _any_case(r"^\W*(?:what|who|which)\s+(\w+?)s?\s")
"""`cover` of `What covers the windows?`, and any other second word."""

# The reply around the answer

THOUGHT = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.IGNORECASE | re.DOTALL)
SPECIAL = _any_case(
    r"<\|[^|>]{0,40}\|?>|</?s>|<(?:eos|bos|pad|unk|image|end_of_utterance|start_of_turn|end_of_turn)>|\[/?INST\]"
)
LABEL = _any_case(
    r"(?:^|(?<=[\n.!?*])[ \t]*)[*_ ]*(?:assistant|model|bot|(?:final |short |the |brief )*answer|response|"
    r"reply|a|colou?rs?|material|shape|pattern|brand|size|type)[*_ ]*:[*_ ]*"
)
LIST_ITEM = re.compile(r"^\s*(?:[-*•]|\d+[.)](?=\s+\D))\s+")
SENTENCE_END = re.compile(
    r"(?<=[.!?])[\"'”’)*]*\s+(?=[\"'“(*]*[A-Z])|(?<=[^\d\s][.!?])\s+(?=\d)|(?<=[a-z]{2})\.(?=[A-Z][a-z])|\s*\n"
)
OPINION = _any_case(
    r"(?:sure|certainly|of course|okay|ok|great question|good question|absolutely|yes,? i can help(?: with that)?|"
    r"here(?: is|'s) (?:the|my) (?:short |final )?answer|i(?:'d| would) be happy to help|happy to help)(?: thing)?"
)
FILLER = _any_case(
    r"^\W*(?:(?:sure|certainly|of course|okay|ok|well|so|absolutely)\s*[,!.:]\s*|"
    r"(?:based (?:up)?on|from|according to|judging (?:by|from)|looking at|as (?:seen|shown|can be seen|depicted) in|in|"
    r"given)\s+(?:what (?:i can see|is visible|is shown) in\s+)?(?:the|this|your)\s+(?:provided |given |product )?"
    r"(?:image|picture|photo|photograph|visual|context|description)s?"
    r"(?:\s+(?:provided|given|shown|you (?:provided|shared)))?\s*,?\s+|"
    r"(?:i (?:think|believe|would say|can see|see)|it (?:seems|appears|looks like) (?:that )?(?=the\b|there\b|this\b))"
    r"(?: that)?\s+)"
)
UNSURE = _any_case(
    r"\b(?:can(?:no|')t|can not|unable to|not able to|difficult to|hard to|impossible to|not possible to)\s+(?:be\s+)?"
    r"(?:accurately |definitively |clearly |exactly )?(?:determined?|tell|told|see|seen|say|said|identif(?:y|ied)|"
    r"answer|provide|read|confirm|make out|count|discern)|"
    r"\bi(?:'m| am) sorry\b|\bnot (?:clear|specified|mentioned|stated)\b|"
    r"\b(?:does|do|did)(?: not|n['’]t) (?:provide|contain|give|specify|mention|state)\b|"
    r"\bno information\b|\bunanswerable\b|\bi (?:do not|don't) know\b"
)

# Yes and no

YES = _any_case(r"^\W*(?:yes|yeah|yep|yup|correct|true|indeed|affirmative)\b")
NO = _any_case(r"^\W*(?:no|nope|nah|false|incorrect|negative|none|neither)\b")
STATEMENT = _any_case(
    r"\b(?:is|are|was|were|isn't|aren't|has|have|hasn't|haven't|does|do|doesn't|don't|can|cannot|can't|appears?|seems?|"
    r"looks?|features?|comes?|includes?|contains?|shows?|uses?|holds?|there's|it's|they're|lacks?)\b"
)
NEGATION = _any_case(r"\b(?:not|no|none|never|cannot|without|neither|nor|lacks?|\w+n['’]t)\b")

# Numbers

_SMALL = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_LARGE = (
    r"eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen|"
    r"(?:twen|thir|for|fif|six|seven|eigh|nine)ty(?:[- ]?(?:one|two|three|four|five|six|seven|eight|nine))?"
)
NUMBER_VALUES: Mapping[str, str] = {word: str(value) for value, word in enumerate(_SMALL)}
"""Number words as digits, as far as `shelfqa.text` holds them equal; published answers write larger ones as words."""

_COUNT_WORDS = {"none": "0", "no": "0", "single": "1", "pair": "2", "couple": "2", "both": "2", "dozen": "12"}
NUMBER = _any_case(
    r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?!\w)|\b(?:" + "|".join([_LARGE, *NUMBER_VALUES, *_COUNT_WORDS]) + r")\b"
)
COUNT_VALUES: Mapping[str, str] = {**NUMBER_VALUES, **_COUNT_WORDS}
"""What also counts where a number is asked for."""
ONE_OF_IT = _any_case(r"\bthere(?:'s| is)(?: only| just)? an?\b")

# From a sentence to the words that answer

THERE_IS = _any_case(
    r"^\W*there(?:['’]s|\s+(?:is|are|was|were|appears? to be|seems? to be))\s+(?=\S)|^\W*(?:you|we|i) can see\s+(?=\S)"
)
MADE_OF = _any_case(
    r"\b(?:made|constructed|crafted|composed|built)(?:\s+\w+ly)?(?:\s+(?:up|out))?\s+(?:of|from|with)\s+(?=\S)"
)
VERB = _any_case(
    r"(?:^\W*(?:it|that|this|there|they|these|what)['’](?:s|re)|(?<=\S)\s+(?:is|are|was|were|has|have|"
    r"features?|shows?|displays?|depicts?|appears?|seems?|looks?|resembles?|contains?|includes?|holds?|represents?|says|"
    r"reads|spells|uses|wears|belongs to|refers to|comes? in|(?:can|could|would|will|may|might|should) be))\s+(?=\S)"
)
AFTER_VERB = _any_case(
    r"^\W*(?:(?:primarily|mainly|mostly|likely|probably|possibly|predominantly|also|approximately|roughly|about|around|"
    r"currently|typically|clearly|either|only|just|simply|visually|generally|indeed|very|most likely|called|named|"
    r"colou?red|holding|wearing|carrying|using|to be|to have|like|as if|being|known as|referred to as|that of|"
    r"in the shape of|in the form of|"
    r"an? (?:image|picture|photo|photograph) of|"
    r"(?:a|the)(?: \w+)? (?:type|kind|style|shade|variety|combination|mix) of|in|of)\s+|"
    r"(?:made|shaped|decorated|covered|filled|designed|used|intended|located|placed|positioned|written|printed|composed|"
    r"constructed|crafted|shown|labell?ed|worn|attached|adorned|patterned|painted|finished|sitting|standing|lying|"
    r"hanging|mounted|resting|meant|upholstered|lined|coated|wrapped|trimmed|lit|powered|suitable|held|secured|fastened|closed|surrounded)(?:\s+\w+ly)?(?:\s+(?:up|out))?\s+"
    r"(?:of|from|with|like|as|by|for|to|in|on|at|using|inside|next to|against)\s+)"
)
LEADING_PREPOSITION = _any_case(
    r"^\W*(?:on|in|at|of|with|by|for|to|from|inside|against|using)\s+(?!and\b|top\b|front\b)"
)
CLAUSE = _any_case(
    r"(?<=\S)(?:\s*,\s*(?:which|with|and (?:it|the|its|there|features|has|is|they)|featuring|giving|making|as|while|"
    r"but|although|though|likely|possibly|including|suggesting|specifically|commonly|often|such as|it|they|so)\b|"
    r"\s*\(|\s+[-–—]+\s+|\s+(?:which|that|who|because|while|featuring|due to|designed|with|without|"
    r"and (?:it|has|features|is|appears)|as (?:seen|shown|indicated|it|they)|but|so)\s)"
)
TRAILING_PLACE = _any_case(
    r"\s+(?:(?:shown|visible|seen|pictured|depicted|displayed|featured|present|printed|written|hanging|sitting|standing|"
    r"lying|placed|located|mounted|resting)\b.*"
    r"|(?:in|on|of|from) (?:the|this) (?:image|picture|photo|photograph|product|item|scene|background)\b.*"
    r"|(?:on|in|at|around|near|under|behind|along|above|below|beside|inside|next to) (?:the|it|its|top|each|both)\b.*)$"
)
ARTICLE = _any_case(r"^(?:a|an|the|some|its|their|this|these|those)\s+")
MEASURE_NOUN = _any_case(r"^(?:\w+ )?(?:pair|piece|set|type|kind|shade|form|sort|style)s? of\s+")
QUOTED = re.compile(r"“([^”]+)”|\"([^\"]+)\"|(?<!\w)['‘]([^'’]+)['’](?!\w)")

ATTRIBUTE_NOUNS: Mapping[str, re.Pattern[str]] = {
    "colour": _any_case(r"(?:\s+in|-)?\s*\bcolou?r(?:s|ed)?\b$"),
    "shape": _any_case(r"(?:\s+in|-)?\s*\bshaped?s?\b$"),
    "pattern": _any_case(r"\s+(?:patterns?|design|print)$"),
    "material": _any_case(r"\s+(?:materials?|fabric)$"),
    "brand": _any_case(r"\s+brand$"),
    "what-kind": _any_case(r"\s+(?:style|type)$"),
    "size": _any_case(r"\s+(?:in )?(?:size|long|tall|wide|high|deep|heavy|length|height|width)$"),
    "other": _any_case(r"\s+(?:style|type|finish|flavou?r)$"),
}
"""By type of question: the attribute's own name after its value."""

# From a short answer to a word

FIRST_PART = _any_case(r"\s+(?:and|or|&|of|with|in|on|for)\s+|[,;/]\s*|\s+-\s+")
"""What ends the first of several answers, or the noun phrase that others lean on."""

SMALL_WORDS = frozenset({
    "a", "an", "the", "this", "that", "it", "its", "is", "are", "was", "were", "made", "shown", "visible", "image",
    "of", "in", "on", "to", "at", "by", "for", "with", "and", "or",
})  # fmt: skip
"""Words that say nothing about what is asked."""
