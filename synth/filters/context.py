"""What stands around a number: whether it is a sum's, an order's or a version's."""

import re
from collections.abc import Callable

ARITHMETIC_BEFORE = re.compile(
    r"(?:\d\s*[=*\u00d7\u00f7^]|[*\u00d7\u00f7^]\s"
    r"|\b(?:compute|calculate|evaluate|simplify|subtract|minus|plus|times|sum|difference|calculation)\b)[^\n]{0,20}$",
    re.IGNORECASE,
)
ARITHMETIC_AFTER = re.compile(r"\s*(?:[=*\u00d7\u00f7^]|[+\-/]\s+\d)|\s+written\b")
ORDERED = re.compile(
    r"\b(?:order|invoice|parcel|tracking|shipment|serial|model|part|item|sku|isbn|issn|doi|ticket|batch|patent"
    r"|version|section|clause|figure|seats?|timestamp|epoch)\b[^\n.;]{0,12}$",
    re.IGNORECASE,
)


def before(text: str, start: int) -> str:
    """What stands before a place, up to 40 characters."""
    return text[max(0, start - 40) : start]


def shortened(found: str, valid: Callable[[str], bool], least: int) -> int:
    """The length of the longest start of `found`, by groups, that is valid; 0 where none of `least` is."""
    end = len(found)
    while end >= least:
        if valid(found[:end]):
            return end
        end = max((found.rfind(mark, 0, end) for mark in " .-/("), default=-1)
        while end > 0 and not found[end - 1].isalnum():
            end -= 1
    return 0
