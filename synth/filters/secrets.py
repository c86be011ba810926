"""`secrets`: keys, tokens and passwords that would open something, by their shape or their name."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from synth.filters.masking import Masking, Place

SHAPES = re.compile(
    r"""(?<![0-9A-Za-z_]) (?:
        (?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16} (?![0-9A-Za-z])
      | gh[pousr]_[0-9A-Za-z]{30,255} | github_pat_[0-9A-Za-z_]{22,255}
      | gl(?:pat|ptt|dt|rt|cbt)-[0-9A-Za-z_\-]{20,}
      | xox[abeoprs]-[0-9A-Za-z\-]{20,} | xapp-\d-[0-9A-Za-z\-]{20,}
      | (?:sk|rk)_(?:live|test)_[0-9A-Za-z]{16,} | whsec_[0-9A-Za-z]{24,}
      | sk-(?:(?:proj|svcacct|admin|ant-[a-z]+\d\d|or-v1)-[0-9A-Za-z_\-]{20,}|[0-9A-Za-z]{32,})
      | hf_[A-Za-z]{30,} | r8_[0-9A-Za-z]{37} | gsk_[0-9A-Za-z]{40,}
      | AIza[0-9A-Za-z_\-]{30,40} | GOCSPX-[0-9A-Za-z_\-]{24,} | ya29\.[0-9A-Za-z_\-]{30,}
      | npm_[0-9A-Za-z]{30,} | pypi-AgEI[0-9A-Za-z_\-]{40,} | dop_v1_[0-9a-f]{64}
      | SG\.[0-9A-Za-z_\-]{16,32}\.[0-9A-Za-z_\-]{32,64} | SK[0-9a-f]{32} | key-[0-9a-f]{32}
      | \d{8,10}:AA[0-9A-Za-z_\-]{30,36}
      | eyJ[0-9A-Za-z_\-]{8,}\.eyJ[0-9A-Za-z_\-]{8,}\.[0-9A-Za-z_\-]{16,}
    )
    | https://hooks\.slack\.com/services/T[0-9A-Z]+/B[0-9A-Z]+/[0-9A-Za-z]{16,}
    | https://(?:\w+\.)?discord(?:app)?\.com/api/webhooks/\d{15,20}/[0-9A-Za-z_\-]{40,}
    | AccountKey=[0-9A-Za-z+/]{60,}={0,2}
    | -----BEGIN\ (?:[A-Z]+\ )?PRIVATE\ KEY(?:\ BLOCK)?-----
      [^-]{0,400}? [0-9A-Za-z+/=]{24} [^-]* (?:-----END\ (?:[A-Z]+\ )?PRIVATE\ KEY(?:\ BLOCK)?-----)?""",
    re.VERBOSE,
)
"""Keys that are made easy to tell: of cloud, code, chat, payment and model services; JWTs, key blocks."""
IN_URL = re.compile(r"\b[a-z][a-z0-9+.\-]{1,20}://[^\s/:@'\"<>]*:(?P<value>[^\s/:@'\"<>]{3,100})@[^\s/@'\"]")
_STARTS = """AKIA ASIA ABIA ACCA ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ glpat- glptt- gldt- glrt- glcbt-
xox xapp- k_live_ k_test_ whsec_ sk- hf_ r8_
gsk_ AIza GOCSPX- ya29. npm_ pypi- dop_v1_ SG. SK key- :AA eyJ hooks.slack
/api/webhooks/ AccountKey= PRIVATE"""
STARTS = tuple(_STARTS.split())
"""A text with none of these has no such key: what makes the search fast."""
ASSIGNED = re.compile(
    r"""(?: (?:api|app|access|auth|account|private|secret|signing|encryption|master|client|session|service)
            [\-_.\ ]? (?:key|token|secret) (?:[\-_.](?:id|key|value))?
          | (?<![A-Za-z])(?:secret|token) | _token | _secret
          | pass(?:word|wd|phrase)? | pwd | authorization )
        (?P<shut>["']?) \s{0,3} (?: => | := | : | = ) \s{0,3} (?:Bearer\s+|Basic\s+)?
        (?P<quote>["'`]?) (?P<value>[^\s"'`,;<>(){}\[\]]{8,200}) (?P<after>.?)""",
    re.IGNORECASE | re.VERBOSE,
)
"""A value that is given to such a name."""
NAMES = ("key", "token", "secret", "pass", "pwd", "authorization")
SHOWN = re.compile(
    r"""example|your|placeholder|redacted|dummy|x{6,}|\*{3,}|0{8,}|1234567890|abcdefgh
      | eyJzdWIiOiIxMjM0NTY3ODkw""",
    re.IGNORECASE | re.VERBOSE,
)
"""What keys for readers to replace hold, and the payload of the JWT that every tutorial shows."""
PLACEHOLDER = re.compile(
    rf"""{SHOWN.pattern}
      | sample|change.?me|my[_\-]|insert|replace|fake|here$|x{{4,}}|\.\.\.|\u2026|^[$%]|[$%]\{{|0{{6,}}
      | 1{{6,}}|12345|abcde|qwert|todo|test|demo|default|secret|pass(?:word|wd)?|p[@a]ssw|letmein|hunter2
      | admin|hello|token|(?:^|[_\-])key|foo|bar(?:$|[_\-])""",
    re.IGNORECASE | re.VERBOSE,
)
"""The same for what is a secret only by its name: words and samples, too."""
BITS = 3.0
"""The entropy a character of a value that is a secret only by its name; 32 random hex digits have 3.6."""


class Secrets(Masking):
    """Rejects rows with keys, tokens or passwords, or masks them as [SECRET].

    Placeholders ("your-api-key", AKIAIOSFODNN7EXAMPLE, rows of x) are none, nor are hashes, ids, public keys
    and what is read from the environment. A key of no known shape is found only where it is named.
    """

    def places(self, text: str) -> Sequence[Place]:
        """What is found in a text, in order."""
        found: list[tuple[int, int]] = []
        for start, end in (*_shaped(text), *_in_urls(text), *_assigned(text)):
            if all(end <= other or stop <= start for other, stop in found):
                found.append((start, end))
        return [Place(start, end, "secret", "[SECRET]") for start, end in sorted(found)]


def _shaped(text: str) -> Iterator[tuple[int, int]]:
    if not any(map(text.__contains__, STARTS)):
        return
    for match in SHAPES.finditer(text):
        body = match.group()
        if not SHOWN.search(body) and len(set(body)) > 9:
            yield match.span()


def _in_urls(text: str) -> Iterator[tuple[int, int]]:
    if "://" not in text:
        return
    for match in IN_URL.finditer(text):
        value = match["value"]
        if not PLACEHOLDER.search(value) and not value.isdecimal() and not value.isalpha():
            yield match.span("value")


def _assigned(text: str) -> Iterator[tuple[int, int]]:
    """Values that are given to a name such as `api_key` and look drawn by chance."""
    if not any(map(text.lower().__contains__, NAMES)):
        return
    for match in ASSIGNED.finditer(text):
        value = match["value"].rstrip(".")
        word = re.match(r"pass|pwd", match.group(), re.IGNORECASE) is not None
        if match["after"] not in ("(", "[", "{") and not PLACEHOLDER.search(value):
            start = match.start("value")
            if _by_chance(value, 8 if word else 16):
                yield start, start + len(value)


def _by_chance(value: str, least: int) -> bool:
    """Whether a value has the letters and digits of a key: no word, path, name of a variable or number."""
    if len(value) < least or re.search(r"^[/\\~.]|://|^\w+\.\w+(?:\.\w+)*$", value):
        return False
    kinds = sum(bool(re.search(kind, value)) for kind in ("[a-z]", "[A-Z]", r"\d", r"[^0-9A-Za-z_\-.]"))
    changes = len(re.findall(r"\d(?=[A-Za-z])|[A-Za-z](?=\d)", value))
    mixed = kinds >= 3 and re.search(r"\d", value) and (changes >= 5 or not re.search(r"[/\\]", value))
    if not mixed and not (changes >= 4 and value.isalnum()):
        return False
    counts = Counter(value)
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values()) >= BITS
