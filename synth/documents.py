"""Documents to text: .txt and .md as they are; .html and .docx as Markdown, at whose headings `synth.chunks`
cuts; .pdf as plain text, with the place where each page begins.

Turning a page of a PDF takes about 20 ms, and a run reads its seeds several times: what was made of a file is
kept in the user's cache, under a hash of the file's bytes.
"""

import hashlib
import logging
import re
import struct
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from xml.parsers.expat import ExpatError

import orjson
from platformdirs import user_cache_path

from synth.errors import DataError
from synth.store import write_whole

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

PLAIN = (".txt", ".md")
DOCUMENTS = (*PLAIN, ".html", ".htm", ".pdf", ".docx")
BROKEN: tuple[type[Exception], ...] = (
    *(ValueError, TypeError, LookupError, AttributeError, AssertionError, ArithmeticError, OSError),
    *(NotImplementedError, RecursionError, struct.error, zlib.error),
)
"""What readers of binary files stumble over where bytes are wrong."""
BOILERPLATE = (
    "script, style, noscript, template, iframe, svg, nav, footer, button, input, select, textarea, [hidden], "
    "[aria-hidden=true], [role=navigation], [role=search], [role=contentinfo], a.headerlink"
)
AROUND = "header, aside, [role=banner], [role=complementary]"
"""Boilerplate where it stands around the text of a page; inside of it, a title or a note."""
LANGUAGE = re.compile(r"\b(?:language|lang|highlight-source|highlight)-(\w[\w+#]*)")


class Pages(list[int]):
    """Where in its text each page of a PDF begins (characters); one without text where the next begins."""

    def at(self, place: int) -> int:
        """The number of the page, from 1, that a place in the text is on."""
        return bisect_right(self, place)


@dataclass(frozen=True, slots=True)
class Document:
    """The text of a document, and the pages of a PDF."""

    text: str
    pages: Pages = field(default_factory=Pages)

    @property
    def empty_pages(self) -> list[int]:
        """Numbers of the pages without text, from 1: they are blank, or scanned."""
        ends = [*self.pages[1:], len(self.text)]
        places = zip(self.pages, ends, strict=False)
        return [number for number, (start, end) in enumerate(places, 1) if start == end]


def read_document(file: Path) -> Document:
    """The text of a document of one of the kinds `DOCUMENTS`; empty where a .txt or .md file is blank.

    Raises:
        DataError: the file can't be read as its kind, is locked, or has pages or pictures but no text.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise DataError(file, f"can't be read ({error.strerror}); let it, or move it away") from error
    kind = file.suffix.lower()
    if kind in PLAIN:
        try:
            text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(file, f"is no UTF-8 text ({error.reason}); convert it") from error
        return Document(text.replace("\r\n", "\n").replace("\r", "\n"))
    read, packages = READERS[kind]
    place = _place(kind, data, packages)
    document = _known(place)
    if document is None:
        document = read(file, data)
        if not document.text.strip():
            raise DataError(file, NO_TEXT.get(kind, "holds no text; fill it, or move it away"))
        with suppress(OSError):  # a cache that can't be written costs time and nothing else
            write_whole(place, orjson.dumps(document))
    return document


NO_TEXT = {
    ".pdf": "has no text, only pictures of it; run text recognition on it (such as ocrmypdf), or move it away"
}


def _place(kind: str, data: bytes, packages: tuple[str, ...]) -> Path:
    """Where the text of these bytes is kept: another version of a reader has another place."""
    readers = [Path(__file__).read_bytes(), *(f"{name} {version(name)}".encode() for name in packages)]
    digest = hashlib.sha256(b"\0".join([kind.encode(), *readers, data])).hexdigest()
    return user_cache_path("synth") / "documents" / digest[:2] / f"{digest[2:32]}.json"


def _known(place: Path) -> Document | None:
    try:
        kept = orjson.loads(place.read_bytes())
    except (OSError, orjson.JSONDecodeError):  # read anew, and written again
        return None
    return Document(kept["text"], Pages(kept["pages"]))


def _html(file: Path, data: bytes) -> Document:
    from bs4 import BeautifulSoup
    from bs4.dammit import UnicodeDammit

    decoded = UnicodeDammit(data, user_encodings=["utf-8"], is_html=True)
    if decoded.unicode_markup is None or decoded.contains_replacement_characters:
        raise DataError(file, "is in no encoding that can be told; convert it to UTF-8")
    with _told(file, "HTML", "save it again"):
        return Document(_markdown(BeautifulSoup(decoded.unicode_markup, "html.parser")))


def _docx(file: Path, data: bytes) -> Document:
    import mammoth
    from bs4 import BeautifulSoup

    mend = "save it again as .docx, without a password"
    with _told(file, ".docx", mend, zipfile.BadZipFile, ExpatError):
        made = mammoth.convert_to_html(
            BytesIO(data), style_map="p[style-name='Title'] => h1:fresh", convert_image=lambda image: []
        )
        return Document(_markdown(BeautifulSoup(made.value, "html.parser")))


def _pdf(file: Path, data: bytes) -> Document:
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, PyPdfError

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # what it mends by itself
    with _told(file, "PDF", "save it again", PyPdfError, DependencyError):
        reader = PdfReader(BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise DataError(file, "is locked by a password; save it without one")
        texts = [_unicode(page.extract_text()).strip() for page in reader.pages]
    whole, pages, at = "\n\n".join(filter(None, texts)), Pages(), 0
    for text in texts:
        pages.append(min(at, len(whole)))
        at += len(text) + 2 if text else 0
    return Document(whole, pages)


def _unicode(text: str) -> str:
    """A text without halves of characters, and without zeros, which some PDF files are full of."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "")


Reader: TypeAlias = Callable[[Path, bytes], Document]
HTML = ("beautifulsoup4", "markdownify")
READERS: dict[str, tuple[Reader, tuple[str, ...]]] = {
    ".html": (_html, HTML),
    ".htm": (_html, HTML),
    ".docx": (_docx, (*HTML, "mammoth")),
    ".pdf": (_pdf, ("pypdf",)),
}
"""The reader of a kind, and the packages whose versions decide what it makes of a file."""


def _markdown(page: "BeautifulSoup") -> str:
    """A page's headings, lists, tables and code, without what stands around them; links as their text."""
    from markdownify import MarkdownConverter

    articles = page.find_all("article")
    body = page.select_one("main, [role=main]")
    if body is None and len(articles) == 1:
        body = articles[0]
    for tag in (body or page).select(BOILERPLATE if body else f"{BOILERPLATE}, head"):
        tag.extract()
    for tag in () if body else page.select(AROUND):
        if not tag.find_parent(["article", "section"]):
            tag.extract()
    converter = MarkdownConverter(
        heading_style="ATX",
        bullets="-",
        strip=["a", "img"],
        escape_asterisks=False,
        escape_underscores=False,
        table_infer_header=True,
        code_language_callback=_language,
    )
    text: str = converter.convert_soup(body or page)
    return text.strip()


def _language(code: "Tag") -> str:
    """The language that a block of code has in its class, or the element in it or one of two around it."""
    for tag in (code, code.find("code"), *islice(code.parents, 2)):
        names = " ".join(tag.get_attribute_list("class")) if tag else ""
        if (found := LANGUAGE.search(names)) and found[1] not in ("default", "none", "text"):
            return found[1]
    return ""


@contextmanager
def _told(file: Path, kind: str, mend: str, *more: type[Exception]) -> Iterator[None]:
    """Whatever a reader stumbles over as one error that names the file."""
    kinds = BROKEN + more
    try:
        yield
    except kinds as error:
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(file, f"is no readable {kind} ({what}); {mend}, or move it away") from error
