"""Finding the names of people in feedback, by lists of names and the words around them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from shelfqa.questions.redaction_words import (
    ABBREVIATED,
    ACTS,
    AFTER_WORDS,
    AND,
    CALLED,
    CLOSERS,
    GREETINGS,
    INTRODUCTIONS,
    KIN,
    LABELS,
    LEADING,
    NAMINGS,
    NO_INITIALS,
    NOT_AFTER_TITLES,
    ONE_WORD_INTRODUCTIONS,
    ONE_WORD_NAMINGS,
    PARTICLES,
    PERSONAL,
    POSSESSIVES,
    PRAISED,
    REACHED,
    ROLES,
    SAINTS,
    SPOKE,
    TITLES,
    TRIGGERS,
    WITH,
    fold,
    lists,
)

_TOKEN = re.compile(r"\[(?:NAME|PHONE|EMAIL|ORDER|ADDRESS|URL|CARD|HANDLE)\]|(?<!\w)[^\W\d_]+(?:['’-][^\W\d_]+)*(?!\w)")
_END_OF_LINE = re.compile(r"[ \t.!,)*~♥❤️😊🙂👍-]{0,6}(?:\n|\r|$)")
_END_OF_SENTENCE = re.compile(r"[ \t]?[.!](?:\s|$)")
_DASH = re.compile(r"[\s.!?)][-–—~]{1,2}\s?$")
_ANOTHER_LINE_OR_COMMA = re.compile(r"[,:\n]")


def known_words(known: Iterable[str]) -> frozenset[str]:
    """Return the words of a listing in the form in which they are compared."""
    return frozenset(fold(word) for text in known for word in _TOKEN.findall(text))


def names(text: str, known: frozenset[str]) -> list[tuple[int, int]]:
    """Return where the names in the text start and end, in order."""
    return _Reader(text, known).spans()


class _Reader:
    """The words of a text and what stands between them."""

    def __init__(self, text: str, known: frozenset[str]) -> None:
        self._text = text
        self._known = known
        self._lists = lists()
        self._may_be: dict[str, bool] = {}
        found = [match.span() for match in _TOKEN.finditer(text)]
        self._starts = [start for start, _ in found]
        self._ends = [end for _, end in found]
        self._words = [text[start:end] for start, end in found]
        self._folded = [fold(word) for word in self._words]
        self._joins = bytearray(len(found))  # 0 where it is not known yet, 1 for no, 2 for yes

    def spans(self) -> list[tuple[int, int]]:
        """Return where the names start and end."""
        spans = []
        place, named = 0, -9
        listed = self._lists.first | self._lists.wordy
        while place < len(self._words):
            if self._folded[place] in listed or self._may_be_name(place):
                last = self._name(place)
                if last < place and named == place - 2 and self._continues(place):
                    last = self._last(place)
                if last >= place:
                    named = last
                    spans.append((self._starts[place], self._end(last)))
                    place = last
            place += 1
        return spans

    def _continues(self, place: int) -> bool:
        """Return whether a listed name stands after a name and `and`."""
        listed = self._folded[place] in self._lists.first | self._lists.wordy
        return listed and self._capital(place) and self._back(place) in AND and self._gap(place) == " "

    def _may_be_name(self, place: int) -> bool:
        """Return whether a word that is in no list is worth a look: after a word that names follow, or an initial."""
        if not self._words[place][0].isupper():
            return False
        if self._back(place) in TRIGGERS:
            return True
        initial = len(self._words[place]) == 1 and self._text[self._ends[place] : self._ends[place] + 1] == "."
        return initial and not (self._initial(place - 1) and self._joined(place))

    def _end(self, last: int) -> int:
        """Return where a name ends whose last word this is: with the point of an initial, without a genitive s."""
        end = self._ends[last]
        if self._words[last].lower().endswith(("'s", "’s")):
            return end - 2
        return end + (len(self._words[last]) == 1 and self._text[end : end + 1] == ".")

    def _gap(self, place: int) -> str:
        """Return what stands before a word; at most eight characters of it, as no rule asks for more."""
        start = self._starts[place]
        return self._text[max(self._ends[place - 1] if place else 0, start - 8) : start]

    def _back(self, place: int, steps: int = 1) -> str:
        return self._folded[place - steps] if place >= steps else ""

    def _capital(self, place: int) -> bool:
        return 0 <= place < len(self._words) and self._words[place][0].isupper()

    def _initial(self, place: int) -> bool:
        return self._capital(place) and len(self._words[place]) == 1

    def _joined(self, place: int) -> bool:
        """Return whether a word follows the one before it with nothing but a blank, or the point of an initial."""
        if not 0 < place < len(self._words):
            return False
        if not self._joins[place]:
            gap = self._text[self._ends[place - 1] : min(self._starts[place], self._ends[place - 1] + 3)]
            short = len(self._words[place - 1]) == 1 or self._folded[place - 1] in ABBREVIATED
            self._joins[place] = 1 + (gap in (" ", "  ", "\u00a0") or (short and gap in (". ", ".")))
        return self._joins[place] == 2

    def _plausible(self, place: int) -> bool:
        """Return whether the word may be a name or a part of one, for all that its spelling says."""
        word = self._words[place]
        if word not in self._may_be:
            folded = self._folded[place]
            self._may_be[word] = word[0].isupper() and folded not in self._lists.never and folded not in self._known
        return self._may_be[word]

    def _surname(self, place: int) -> bool:
        if not self._joined(place):
            return False
        return self._plausible(place) and (
            len(self._words[place]) > 1 or self._text[self._ends[place] : self._ends[place] + 1] == "."
        )

    def _last(self, place: int) -> int:
        """Return the last word of the name that starts here."""
        last = place
        while last < place + 4:
            after = last + 1
            if self._joined(after) and self._folded[after] in PARTICLES and not self._capital(after):
                after += 1 + (self._joined(after + 1) and self._folded[after + 1] in PARTICLES)
            if after >= len(self._words) or not self._joined(after):
                break
            if not (self._plausible(after) or (self._initial(after) and self._folded[after] not in ("i", "a"))):
                break
            last = after
        return last

    def _is_brand(self, place: int) -> bool:
        here, after = self._folded[place], self._folded[place + 1] if place + 1 < len(self._words) else ""
        return f"{here} {after}" in self._lists.brands or f"{self._back(place)} {here}" in self._lists.brands

    def _name(self, place: int) -> int:
        """Return the last word of the name that starts at this word, or -1 where none does."""
        folded = self._folded[place]
        if self._is_brand(place) or self._back(place) in SAINTS:
            return -1
        first = folded in self._lists.first
        listed = first or folded in self._lists.wordy
        capital = self._capital(place)
        if folded in self._known and not (self._surname(place + 1) and listed):
            return -1
        last = self._last(place)
        if capital and self._is_pair(place, last, first=first, listed=listed):
            return last
        after = self._folded[place + 1] if self._joined(place + 1) else ""
        if first and not capital and after in self._lists.surnames and after not in self._lists.never:
            return place + 1
        if self._initial(place) and self._after_initials(place, last):
            return last
        plausible = self._plausible(place) or self._initial(place)
        if self._in_certain_context(place, last, first=first, listed=listed, plausible=plausible):
            return last if capital else place
        if first and not capital and (self._back(place) in ONE_WORD_INTRODUCTIONS or self._back(place, 2) == "i"):
            return place if self._introduced(place) else -1
        if capital and listed and self._in_likely_context(place, last, first=first):
            return last
        return -1

    def _introduced(self, place: int) -> bool:
        """Return whether `I'm karen and` or the like stands here, in small letters."""
        pair = (self._back(place, 2), self._back(place))
        if (pair[1] not in ONE_WORD_INTRODUCTIONS and pair not in INTRODUCTIONS) or self._gap(place) != " ":
            return False
        return place + 1 == len(self._words) or self._folded[place + 1] in AFTER_WORDS or self._gap(place + 1) != " "

    def _after_initials(self, place: int, last: int) -> bool:
        """Return whether a surname follows two initials, or one after a word such as `by`."""
        points = [self._text[self._ends[part] : self._ends[part] + 1] == "." for part in range(place, last)]
        initials = sum(len(self._words[part]) == 1 for part in range(place, last))
        surname = last > place and len(self._words[last]) > 1 and not self._words[last].isupper()
        if not surname or not all(points) or initials != last - place:
            return False
        if "".join(self._folded[place:last]) in NO_INITIALS:
            return False
        return initials > 1 or (self._gap(place) == " " and self._back(place) in ("by", "to", "from", "for", "with"))

    def _is_pair(self, place: int, last: int, *, first: bool, listed: bool) -> bool:
        """Return whether a first name with a surname stands here, and not in a run of words in title case."""
        if last == place or not listed:
            return False
        before = self._joined(place) and self._capital(place - 1)
        title_case = before or (self._joined(last + 1) and self._capital(last + 1))
        if any(self._folded[part] in self._lists.surnames for part in range(place + 1, last + 1)):
            return first or not title_case
        if (
            not first
            or len(self._words[place]) == 1
            or (self._words[place + 1].isupper() and len(self._words[place + 1]) > 1)
        ):
            return False
        return not title_case

    def _in_certain_context(self, place: int, last: int, *, first: bool, listed: bool, plausible: bool) -> bool:
        """Return whether what stands before says that a name follows, be it one of the lists or not."""
        before, gap, folded = self._back(place), self._gap(place), self._folded[place]
        pair = (self._back(place, 2), before)
        if before in TITLES and gap in (" ", ". ", ".", "\u00a0") and self._words[place - 1] not in ("MS", "SR", "SMT"):
            return (
                self._capital(place)
                and self._words[place].lower() not in NOT_AFTER_TITLES
                and folded not in NOT_AFTER_TITLES
            )
        if before in TITLES or not (plausible or first or (listed and self._capital(place))):
            return False
        if gap == " " and (pair in NAMINGS or before in ONE_WORD_NAMINGS):
            return True
        if before in KIN and gap in (" ", ", ") and (pair[0] in POSSESSIVES or self._back(place, 3) in POSSESSIVES):
            return listed or (plausible and self._words[place - 1].islower() and not self._words[place].isupper())
        if gap == " " and before == "to" and pair[0] in PRAISED and plausible and not self._words[place].isupper():
            return True
        if gap == " " and pair[0] in SPOKE and before in WITH:
            return listed or plausible
        if before in ROLES and gap in (" ", ", ", ": "):
            return listed and self._capital(place)
        if gap == " " and before in CALLED:
            return self._capital(place) and (listed or (plausible and pair[0] in ROLES))
        if ":" in gap and before in LABELS:
            return listed or (last > place and plausible and before in ("to", "recipient", "attn"))
        return self._is_sign_off(place, last, before, first=first, listed=listed, plausible=plausible)

    def _is_sign_off(self, place: int, last: int, before: str, *, first: bool, listed: bool, plausible: bool) -> bool:
        end = self._end(last if self._capital(place) else place)
        ends_line = _END_OF_LINE.match(self._text, end) is not None
        if not ends_line and not (self._text[end - 1] == "." or _END_OF_SENTENCE.match(self._text, end)):
            return False
        gap = self._gap(place)
        pair = (self._back(place, 2), before)
        if before in CLOSERS and len(gap) < 8:
            if _ANOTHER_LINE_OR_COMMA.search(gap):
                return first or listed or (plausible and (ends_line or last > place))
            return (first or last > place) and listed
        if pair[0] in CLOSERS and first and self._words[place - 1].istitle() and "," in self._gap(place - 1):
            return True
        dash = ends_line and _DASH.search(gap) is not None
        own_line = ends_line and "\n" in gap
        return self._capital(place) and (dash or own_line) and (first or (listed and last > place))

    def _in_likely_context(self, place: int, last: int, *, first: bool) -> bool:
        """Return whether the words around a name of the lists are such as stand around people."""
        before, gap = self._back(place), self._gap(place)
        pair = (self._back(place, 2), before)
        after = self._folded[last + 1] if last + 1 < len(self._words) else ""
        alone = last == place
        if gap in (" ", "  ") and (pair in INTRODUCTIONS or before in ONE_WORD_INTRODUCTIONS):
            return first or not alone or after in AFTER_WORDS
        if not first and alone:
            return False
        if pair == ("thank", "you") and gap in (" ", ", "):
            return True
        if (before in GREETINGS or before in REACHED) and gap in (" ", ", "):
            return True
        if after in ACTS and self._gap(last + 1) == " ":
            return not (alone and self._joined(place) and before in ("the", "this", "a"))
        if after in ("was", "is") and last + 2 < len(self._words) and self._folded[last + 2] in PERSONAL:
            return True
        if not first or gap != " " or before not in LEADING or self._capital(last + 1):
            return False
        return alone or self._words[place - 1].islower()
