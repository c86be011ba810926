"""Payment cards, bank accounts and national ids in a text, by their check digits (python-stdnum's)."""

import re
from collections.abc import Callable, Iterator

from stdnum import iban, luhn
from stdnum.br import cpf
from stdnum.de import idnr
from stdnum.es import dni, nie
from stdnum.fr import nir
from stdnum.in_ import aadhaar
from stdnum.iso7064 import mod_11_2
from stdnum.it import codicefiscale
from stdnum.us import ssn

from synth.filters.context import ORDERED, before, shortened

LEFT = r"(?<![0-9A-Za-z_.\-])"
RIGHT = r"(?![0-9A-Za-z_]|[.\-]\d)"
CARD = re.compile(
    rf"{LEFT}(?:\d{{14,19}}|\d{{4}}([ \-])\d{{4}}\1\d{{4}}\1\d{{4}}(?:\1\d{{3}})?"
    rf"|3\d{{3}}([ \-])\d{{6}}\2\d{{4,5}}){RIGHT}"
)
ISSUER = re.compile(
    r"""4(?:\d{15}|\d{18}) | 5[1-5]\d{14} | 2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}
      | 3[47]\d{13} | 3(?:0[0-5]|[689]\d)\d{11} | 35(?:2[89]|[3-8]\d)\d{12}
      | 6(?:011|5\d\d|4[4-9]\d)\d{12} | 62\d{14,17} | (?:50[123][08]|6304|6759|676[123])\d{12}""",
    re.VERBOSE,
)
"""Visa; Mastercard; American Express, Diners and JCB; Discover; UnionPay; Maestro."""
_CARDS = """4111111111111111 4242424242424242 4012888888881881 4000056655665556 4000000000000002 4222222222222
    4000002500003155 4000000000009995 5555555555554444 5105105105105100 5200828282828210 2223003122003222
    2223000048400011 378282246310005 371449635398431 378734493671000 6011111111111117 6011000990139424
    6011981111111113 30569309025904 3056930009020004 38520000023237 36227206271667 3530111333300000
    3566002020360505 6200000000000005 4532015112830366 4539578763621486 4916338506082832"""
TEST_CARDS = frozenset(_CARDS.split())
"""Numbers that payment services and textbooks give as samples."""
IBAN = re.compile(r"(?<![0-9A-Za-z])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![0-9A-Za-z])")
_IBANS = """GB82WEST12345698765432 GB29NWBK60161331926819 GB33BUKB20201555555555 DE89370400440532013000
    DE75512108001245126199 FR1420041010050500013M02606 FR7630006000011234567890189 NL91ABNA0417164300
    NL20INGB0001234567 ES9121000418450200051332 ES7921000813610123456789 IT60X0542811101000000123456
    BE68539007547034 BE71096123456769 CH9300762011623852957 CH5604835012345678009 AT611904300234573201
    PL61109010140000071219812874 PT50000201231234567890154 SE4550000000058398257466 IE29AIBK93115212345678
    IE64IRCE92050112345678 NO9386011117947 DK5000400440116243 FI2112345600000785 LU280019400644750000"""
SAMPLE_IBANS = frozenset(_IBANS.split())
"""The samples of the IBAN registry, and of much software."""
SSN = re.compile(rf"{LEFT}(\d{{3}}-\d{{2}}-\d{{4}}){RIGHT}")
LABELLED_SSN = re.compile(
    rf"\b(?:SSN|social security)\b\D{{0,20}}?(\d{{3}} ?\d{{2}} ?\d{{4}}){RIGHT}", re.IGNORECASE
)
_ID_SAMPLES = """123456789 987654321 111223333 12345678Z 00000000T 12345678909 11010519491231002X AB123456C
    X1234567L Y1234567X Z1234567R"""
SAMPLES = frozenset(_ID_SAMPLES.split())
"""Ids that forms and textbooks show."""
NINO = r"(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]"
IDS: tuple[tuple[str, Callable[[str], bool]], ...] = (
    (rf"{LEFT}((?:\d{{8}}|[XYZ]-?\d{{7}})-?[A-Z]){RIGHT}", lambda n: dni.is_valid(n) or nie.is_valid(n)),
    (rf"{LEFT}(\d{{3}}\.\d{{3}}\.\d{{3}}-\d{{2}}){RIGHT}", cpf.is_valid),
    (rf"\bCPF\b\D{{0,12}}?(\d{{11}}){RIGHT}", cpf.is_valid),
    (rf"{LEFT}([12] ?\d\d ?\d\d ?(?:\d\d|2[AB]) ?\d{{3}} ?\d{{3}} ?\d\d){RIGHT}", nir.is_valid),
    (
        rf"(?i:steuer-?id|\bid-?nr|\btax id)\D{{0,40}}?(\d\d(?: ?\d{{3}}){{3}}){RIGHT}",
        idnr.is_valid,
    ),
    (rf"(?<![0-9A-Za-z])({NINO} \d\d \d\d \d\d [A-D])\b", bool),
    (rf"(?i:national insurance|\bNI n(?:umber|o)|\bNINO)\b[^\n]{{0,20}}?\b({NINO}\d{{6}}[A-D])\b", bool),
    (
        rf"(?i:aadha?ar|uidai|\u0906\u0927\u093e\u0930)\D{{0,20}}?(\d{{4}}(?: ?\d{{4}}){{2}}){RIGHT}",
        aadhaar.is_valid,
    ),
    (
        rf"{LEFT}([1-9]\d{{5}}(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{{3}}[\dX]){RIGHT}",
        mod_11_2.is_valid,
    ),
    (r"\b((?!RSSMRA)[A-Z]{6}\d\d[A-EHLMPRST]\d\d[A-Z]\d{3}[A-Z])\b", codicefiscale.is_valid),
)
"""Spanish DNI and NIE, Brazilian CPF, French NIR, German tax id, British NINO (no check digit: in groups, or
named), Indian Aadhaar (named), Chinese resident number, Italian codice fiscale."""
COMPILED_IDS = [(re.compile(pattern), valid) for pattern, valid in IDS]


def cards(text: str) -> Iterator[tuple[int, int]]:
    """Where payment card numbers stand; not one run of digits after a word such as "order"."""
    for match in CARD.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        if (
            ISSUER.fullmatch(digits)
            and luhn.is_valid(digits)
            and digits not in TEST_CARDS
            and len(set(digits)) > 3
            and not (digits == match.group() and ORDERED.search(before(text, match.start())))
        ):
            yield match.span()


def ibans(text: str) -> Iterator[tuple[int, int]]:
    """Where IBANs stand."""
    for match in IBAN.finditer(text):
        end = shortened(match.group(), lambda found: iban.is_valid(found, check_country=False), 15)
        if end and match.group()[:end].replace(" ", "") not in SAMPLE_IBANS:
            yield match.start(), match.start() + end


def ssns(text: str) -> Iterator[tuple[int, int]]:
    """Where US social security numbers stand."""
    for pattern in (SSN, LABELLED_SSN):
        for match in pattern.finditer(text):
            digits = re.sub(r"\D", "", match[1])
            if (
                ssn.is_valid(digits)
                and digits not in SAMPLES
                and not ORDERED.search(before(text, match.start(1)))
            ):
                yield match.span(1)


def national_ids(text: str) -> Iterator[tuple[int, int]]:
    """Where ids of `IDS` stand whose check digits are right."""
    for pattern, valid in COMPILED_IDS:
        for match in pattern.finditer(text):
            number = re.sub(r"[ .\-]", "", match[1])
            if len(set(number)) > 2 and number not in SAMPLES and valid(number):
                yield match.span(1)
