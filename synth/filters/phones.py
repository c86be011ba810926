"""Telephone numbers in a text, by the numbering plans of libphonenumber (github.com/google/libphonenumber).

Found: numbers with a country's prefix; North American ones in their usual marks; others that begin with 0 in
groups; and any national form after a word such as "phone". Not found: local numbers without an area code.
"""

import re
from collections.abc import Iterator, Sequence

import phonenumbers

from synth.filters.context import ARITHMETIC_AFTER, ARITHMETIC_BEFORE, ORDERED, before, shortened

JOIN = r"[ ().\-/\u00a0]{0,3}"
EXTENSION = r"(?: ?(?:x|ext\.?) ?\d{1,6})?"
END = EXTENSION + r"(?![0-9A-Za-z_]|[.,\-/]\d| ?\d| ?[*=\u00d7\u00f7^])"
INTERNATIONAL = re.compile(
    r"(?<![0-9A-Za-z_+.])(?<!\d )(?:\+|00[ \-]?)"
    rf"(?P<number>[1-9](?:{JOIN}\d){{6,14}}){EXTENSION}(?![0-9A-Za-z_])"
)
AMERICAN = re.compile(
    rf"(?<![0-9A-Za-z_.+\-/])(?:1[ .\-])?(?:\([2-9]\d\d\)[ \-]?|[2-9]\d\d[\-.])[2-9]\d\d[\-.]\d{{4}}{END}"
)
ZERO = re.compile(
    r"(?<![0-9A-Za-z_.+\-/])(?<!\d )(?<!\d, )"
    r"(?!0\d{4}-\d{4}(?!\d)|\d\d-\d{7}(?!\d)|\d\d(?: (?:19|20)\d\d)+(?!\d))"
    rf"(?:\(0[1-9]\d{{0,4}}\) ?\d{{2,8}}|0[1-9]\d{{0,4}}[ /.\-]\d{{2,8}})(?:[ /.\-]\d{{2,8}}){{0,3}}{END}"
)
"""No US postal code, tax number or row of years looks like these."""
NOUN = (
    "tele(?:ph|f)on[eo]?|phone|tel|t[\u00e9e]l[\u00e9e]phone|mobile?|cell(?:ular|phone)?|fax|whatsapp|sms"
    "|hotline|handy(?:nummer)?|rufnummer|portable|m[\u00f3o]vil|tel[\u00e9e]fono|numero di telefono"
    "|\u7535\u8bdd|\u624b\u673a|\u96fb\u8a71|\u643a\u5e2f"
)
VERB = "call|dial|ring|contact|kontakt|text|reach|ruf|anrufen|appele[rz]|joindre|llam[ae]\\w*|chiam[ai]\\w*"
SMALL = "me|us|him|her|them|now|on|at|under|back|the|le|al|an|mich|our|my|his|line|office|number|today|unter"
LABELLED = re.compile(
    rf"(?<![a-z])(?:(?:{NOUN})[^\d\n+]{{0,20}}?|(?:{VERB})(?:\W{{1,3}}(?:{SMALL})\b){{0,4}}[^\w+]{{1,3}}?)"
    rf"(?P<number>\(?\d(?:{JOIN}\d){{8,12}}){END}",
    re.IGNORECASE,
)
REGIONS = (
    "US",
    "GB",
    "FR",
    "DE",
    "ES",
    "IT",
    "NL",
    "PL",
    "BR",
    "MX",
    "IN",
    "CN",
    "JP",
    "KR",
    "AU",
    "RU",
    "ZA",
    "NG",
)
"""Whose national forms are known after a word such as "phone"."""
WITH_ZERO = ("GB", "FR", "DE", "IT", "NL", "JP", "AU", "ZA", "IN")
FICTION = re.compile(
    r"""\+(?: 1 (?:\d{3} 55501\d\d | \d{3} 5551212)
      | 44 (?: 2079460\d{3} | 7700900\d{3} | 1632960\d{3} | 1\d\d 4960\d{3} | 808157\d{4} | 3069990\d{3})
      | 33 (?: 19900 | 26191 | 35301 | 46571 | 53649 | 63998 ) \d{4}
      | 49 (?: 3023125\d{3} | 6990009\d{3} | 4066969\d{3} | 22147\d{5} )
      | 61 (?: [2378] (?: 5550 | 7010 ) \d{4} | 491570\d{3} | 1800975\d{3} )
    )""",
    re.VERBOSE,
)
"""Numbers that regulators keep for films and books, and directory enquiries."""


def phones(text: str) -> Iterator[tuple[int, int]]:
    """Where telephone numbers stand."""
    for match in INTERNATIONAL.finditer(text):
        number = match["number"]
        if end := shortened(number, lambda part: _valid(f"+{part}", None), 7):
            yield match.start(), match.end() if end == len(number) else match.start("number") + end
    for pattern, regions in ((AMERICAN, ("US",)), (ZERO, WITH_ZERO)):
        for match in pattern.finditer(text):
            if (
                sum(map(str.isdigit, match.group())) >= 9
                and _free(text, match)
                and _known(match.group(), regions)
            ):
                yield match.span()
    for match in LABELLED.finditer(text):
        if _known(match["number"], REGIONS):
            yield match.span("number")


def _known(number: str, regions: Sequence[str]) -> bool:
    """Whether one of the regions has it as a national form, and none keeps it for fiction."""
    return not any(_fiction(number, region) for region in regions) and any(
        _valid(number, region) for region in regions
    )


def _free(text: str, match: "re.Match[str]") -> bool:
    """Whether a number stands in no sum, and is not named as an order's or a part's."""
    ahead = before(text, match.start())
    return not (
        ARITHMETIC_BEFORE.search(ahead) or ORDERED.search(ahead) or ARITHMETIC_AFTER.match(text, match.end())
    )


def _valid(number: str, region: str | None) -> bool:
    """Whether a numbering plan has it, and doesn't keep it for fiction."""
    parsed = _parsed(number, region)
    return parsed is not None and phonenumbers.is_valid_number(parsed) and not _fiction(number, region)


def _fiction(number: str, region: str | None) -> bool:
    parsed = _parsed(number, region)
    if parsed is None or "1234567890" in re.sub(r"\D", "", number):
        return parsed is not None
    return FICTION.fullmatch(f"+{parsed.country_code}{parsed.national_number}") is not None


def _parsed(number: str, region: str | None) -> phonenumbers.PhoneNumber | None:
    try:
        return phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return None
