"""`pii`: personal data that can be told by its form: addresses of people and machines, and their numbers."""

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from pydantic import Field

from synth.filters.context import ORDERED, before
from synth.filters.masking import Masking, Place
from synth.filters.numbers import cards, ibans, national_ids, ssns
from synth.filters.phones import phones

EMAIL = re.compile(
    r"(?<![0-9A-Za-z._%+\-@/])[0-9A-Za-z](?:[0-9A-Za-z._%+'\-]{0,63})"
    r"(?:@|\s?[\[(]at[\])]\s?)(?:[0-9A-Za-z\-]{1,63}(?:\.|\s?[\[(]dot[\])]\s?)){1,4}"
    r"[A-Za-z]{2,24}(?![0-9A-Za-z@])"
)
NO_PERSON = re.compile(
    r"""(?:^|\.)example\.(?:com|org|net|edu)$ | \.(?:example|test|invalid|localhost|local|internal)$
      | ^(?:your|my|our|the|some|a)?-?
        (?:domain|company|site|website|organi[sz]ation|school|business|host|server)(?:name|address)?\.\w+$
      | \.(?:png|jpe?g|gif|svg|webp|py|js|ts|css|html|json|ya?ml|md|txt)$""",
    re.IGNORECASE | re.VERBOSE,
)
"""Domains that are reserved or stand for another, and ends of file names."""
LOGIN = re.compile(r"://[^\s/@]*:$")
"""Before the password in a URL."""
IPV4 = re.compile(r"(?<![0-9A-Za-z_.\-])\d{1,3}(?:\.\d{1,3}){3}(?![0-9A-Za-z_]|[.\-]\d)")
IPV6 = re.compile(r"(?<![0-9A-Za-z:.])[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{3,}(?![0-9A-Za-z:])")
NUMBERED = re.compile(
    r"(?:[A-Za-z]/|[<>=~]=\s?"
    r"|\bv|\bver|\brv:|\b(?:version|release|build|see|rule|chapter|step|table)\b\D{0,12})$",
    re.IGNORECASE,
)
_RESOLVERS = """8.8.8.8 8.8.4.4 1.1.1.1 1.0.0.1 9.9.9.9 149.112.112.112 208.67.222.222 208.67.220.220 1.2.3.4
2001:4860:4860::8888 2001:4860:4860::8844 2606:4700:4700::1111 2606:4700:4700::1001"""
RESOLVERS = frozenset(map(ipaddress.ip_address, _RESOLVERS.split()))
"""Public name servers, and the address that stands for any."""
NUMERIC = re.compile(r"\d(?:[ ().\-/\u00a0]{0,3}\d){5}|[A-Z]{6}\d\d[A-Z]\d\d[A-Z]\d{3}")
"""A text without this holds none of the numbers."""

Kind = Literal["e-mail", "ip", "iban", "card", "national id", "ssn", "phone"]
KINDS: tuple[Kind, ...] = ("e-mail", "ip", "iban", "card", "national id", "ssn", "phone")


def emails(text: str) -> Iterator[tuple[int, int]]:
    """Where e-mail addresses stand, those with [at] and [dot] too."""
    if "@" not in text and "at]" not in text and "at)" not in text:
        return
    for match in EMAIL.finditer(text):
        local, domain = re.split(r"@|\s?[\[(]at[\])]\s?", match.group(), maxsplit=1)
        domain = re.sub(r"\s?[\[(]dot[\])]\s?", ".", domain)
        login = local in ("git", "foo") or LOGIN.search(before(text, match.start()))
        if not login and not NO_PERSON.search(domain):
            yield match.span()


def addresses(text: str) -> Iterator[tuple[int, int]]:
    """Where public IP addresses stand; versions and numbers of sections are none."""
    for match in (*IPV4.finditer(text), *(IPV6.finditer(text) if ":" in text else ())):
        try:
            address = ipaddress.ip_address(match.group())
        except ValueError:
            continue
        ahead = before(text, match.start())
        named = isinstance(address, ipaddress.IPv4Address) and (
            NUMBERED.search(ahead) or ORDERED.search(ahead)
        )
        if address.is_global and not address.is_multicast and address not in RESOLVERS and not named:
            yield match.span()


FIND: dict[Kind, tuple[Callable[[str], Iterator[tuple[int, int]]], str]] = {
    "e-mail": (emails, "[EMAIL]"),
    "ip": (addresses, "[IP]"),
    "iban": (ibans, "[IBAN]"),
    "card": (cards, "[CARD]"),
    "national id": (national_ids, "[ID]"),
    "ssn": (ssns, "[SSN]"),
    "phone": (phones, "[PHONE]"),
}
"""How each kind is found and masked; of two that overlap the earlier kind counts."""


class PII(Masking):
    """Rejects rows with personal data of the `kinds`, or masks it; see docs/privacy.md for what is found.

    Reserved samples (example.com, 555-0142, 192.0.2.1, test cards) are none. Names, postal addresses and
    dates of birth are not looked for.
    """

    kinds: tuple[Kind, ...] = Field(default=KINDS, min_length=1)

    def places(self, text: str) -> Sequence[Place]:
        """What is found in a text, in order."""
        found: list[Place] = []
        numbers = NUMERIC.search(text) is not None
        for kind in KINDS:
            if kind in self.kinds and (numbers or kind in ("e-mail", "ip")):
                find, mask = FIND[kind]
                for start, end in find(text):
                    if all(end <= place.start or place.end <= start for place in found):
                        found.append(Place(start, end, kind, mask))
        return sorted(found, key=lambda place: place.start)
