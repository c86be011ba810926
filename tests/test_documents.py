"""Documents are made here, byte by byte or by the libraries that read them."""

import json
import zipfile
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pypdf import PdfReader, PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from synth import documents
from synth.documents import Document, Pages, read_document
from synth.errors import DataError
from synth.readers import notes
from synth.seeds import read_seeds
from synth.types import JSON


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What was read is kept in a folder of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(documents, "user_cache_path", folder.joinpath)
    return folder


def folder_of(root: Path, **files: bytes) -> Path:
    """A folder with these files; `_` stands for the dot."""
    folder = root / "documents"
    folder.mkdir()
    for name, data in files.items():
        (folder / name.replace("_", ".")).write_bytes(data)
    return folder


def pdf(*pages: str, password: str = "", owner: str = "") -> bytes:
    """A PDF whose pages hold a line each; an empty one is a page without text, as a scan is."""
    writer = PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    for line in pages:
        page = writer.add_blank_page(width=400, height=400)
        fonts = DictionaryObject({NameObject("/F1"): font})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        content = DecodedStreamObject()
        content.set_data(f"BT /F1 12 Tf 20 300 Td ({line}) Tj ET".encode() if line else b"")
        page[NameObject("/Contents")] = writer._add_object(content)
    if password or owner:
        writer.encrypt(password, owner or None, algorithm="AES-256")
    out = BytesIO()
    writer.write(out)
    return out.getvalue()


def docx(*paragraphs: tuple[str, str]) -> bytes:
    """A .docx of paragraphs, each with the name of its style."""
    space = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    names = {style: f"s{number}" for number, (style, _) in enumerate(paragraphs)}
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="{key}"><w:name w:val="{name}"/></w:style>'
        for name, key in names.items()
    )
    body = "".join(
        f'<w:p><w:pPr><w:pStyle w:val="{names[style]}"/></w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>'
        for style, text in paragraphs
    )
    table = "<w:tbl><w:tr><w:tc><w:p><w:r><w:t>{}</w:t></w:r></w:p></w:tc></w:tr></w:tbl>"
    body += table.format("Cell") if paragraphs else ""
    office = "application/vnd.openxmlformats-officedocument.wordprocessingml"
    relation = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    packed = "http://schemas.openxmlformats.org/package/2006"
    files = {
        "[Content_Types].xml": f'<Types xmlns="{packed}/content-types">'
        f'<Override PartName="/word/document.xml" ContentType="{office}.document.main+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{packed}/relationships"><Relationship Id="r1" '
        f'Type="{relation}/officeDocument" Target="word/document.xml"/></Relationships>',
        "word/_rels/document.xml.rels": f'<Relationships xmlns="{packed}/relationships"><Relationship '
        f'Id="r1" Type="{relation}/styles" Target="styles.xml"/></Relationships>',
        "word/styles.xml": f"<w:styles {space}>{styles}</w:styles>",
        "word/document.xml": f"<w:document {space}><w:body>{body}</w:body></w:document>",
    }
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return out.getvalue()


PAGE = """<!doctype html><html><head><title>Tea - The Site</title><style>p {color: red}</style></head><body>
<header><h1>The Site</h1></header><nav><a href="/">Home</a></nav>
<main><header><h1>Tea <a class="headerlink" href="#t">#</a></h1></header>
<p>Tea needs <b>hot</b> water, see <a href="x">here</a>. Caf\u00e9 snake_case.</p>
<h2>Steps</h2><ol><li>Boil<ul><li>slowly</li></ul></li><li>Pour</li></ol>
<table><tr><td>tea</td><td>minutes</td></tr><tr><td>green</td><td>2</td></tr></table>
<div class="highlight-python"><div><pre>def brew():

    return 1
</pre></div></div><aside>A note.</aside></main>
<aside>Our shop</aside><footer>All rights reserved</footer><script>alert(1)</script></body></html>"""
MARKDOWN = """# Tea

Tea needs **hot** water, see here. Caf\u00e9 snake_case.

## Steps

1. Boil
   - slowly
2. Pour

| tea | minutes |
| --- | --- |
| green | 2 |

```python
def brew():

    return 1
```

A note."""


@pytest.mark.parametrize(
    "data",
    [
        PAGE.encode(),
        PAGE.replace("<head>", '<head><meta charset="iso-8859-1">').encode("latin-1"),
        PAGE.encode("utf-16"),
        PAGE.replace("main>", "article>").encode(),
        PAGE.replace("<main>", '<div role="main">').replace("</main>", "</div>").encode(),
    ],
)
def test_a_page_becomes_markdown_without_what_stands_around_it(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "tea.HTML"
    file.write_bytes(data)
    assert read_document(file) == Document(MARKDOWN)


def test_a_page_without_a_main_part_loses_its_header_and_its_navigation(tmp_path: Path) -> None:
    file = tmp_path / "tea.htm"
    file.write_text("<header>Site</header><nav>Home</nav><h1>Tea</h1><aside>Buy</aside><p>Hot.<footer>End")
    assert read_document(file).text == "# Tea\n\nHot."


def test_a_plain_text_has_one_kind_of_line_end_and_no_mark_of_its_encoding(tmp_path: Path) -> None:
    file = tmp_path / "tea.md"
    file.write_bytes("\ufeff# T\u00e9\r\nhot\rwater\n".encode())
    assert read_document(file) == Document("# T\u00e9\nhot\nwater\n")


def test_a_docx_keeps_its_headings_and_tables(tmp_path: Path) -> None:
    file = tmp_path / "tea.docx"
    file.write_bytes(docx(("Title", "Tea"), ("heading 1", "Steps"), ("Normal", "Boil it.")))
    assert read_document(file).text == "# Tea\n\n# Steps\n\nBoil it.\n\n| Cell |\n| --- |"


def test_a_pdf_knows_where_its_pages_begin_and_which_have_no_text(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, a_pdf=pdf("", "First.", "", "", "Second.", ""), b_pdf=pdf("Other."))
    document = read_document(folder / "a.pdf")
    assert document == Document("First.\n\nSecond.", Pages([0, 0, 8, 8, 8, 15]))
    assert document.empty_pages == [1, 3, 4, 6]
    assert [document.pages.at(place) for place in (0, 7, 8, 14)] == [2, 2, 5, 5]
    (folder / "picture.png").write_bytes(b"x")
    (folder / "Makefile").write_bytes(b"x")
    assert notes(str(folder)) == [
        f"{folder}: left out, as no documents, 2 in all: 1 without a suffix, 1 .png",
        f"{folder}: pages without text, blank or scanned, 4 in all: a.pdf (page 1, 3, 4, 6)",
    ]
    assert notes(str(folder / "b.pdf")) == []


def test_documents_of_every_kind_are_seeds_and_their_chunks_name_the_page(tmp_path: Path) -> None:
    folder = folder_of(
        tmp_path,
        a_pdf=pdf("One two three four.", "", "Five six seven eight."),
        b_docx=docx(("heading 1", "Tea")),
        c_html=b"<h1>Milk</h1>",
        d_md=b"# Water",
        e_TXT=b"Juice",
    )
    whole = [dict(seed.fields) for seed in read_seeds(str(folder))]
    assert whole[0] == {
        "text": "One two three four.\n\nFive six seven eight.",
        "file": "a.pdf",
        "pages": [0, 21, 21],
    }
    assert [fields["file"] for fields in whole] == ["a.pdf", "b.docx", "c.html", "d.md", "e.TXT"]
    cut = [dict(seed.fields) for seed in read_seeds(str(folder), chunk=4)]
    first = {"text": "One two three four.", "file": "a.pdf", "start": 0, "end": 19, "page": 1}
    assert cut[:2] == [
        first,
        {"text": "Five six seven eight.", "file": "a.pdf", "start": 21, "end": 42, "page": 3},
    ]
    assert "page" not in cut[2]
    assert [dict(seed.fields) for seed in read_seeds(str(folder / "a.pdf"), chunk=4)] == cut[:2]


def test_a_field_of_rows_that_is_called_pages_stays_what_it_is(tmp_path: Path) -> None:
    file = tmp_path / "s.jsonl"
    file.write_text(json.dumps({"text": "a b", "pages": [3, 4]}) + "\n")
    assert [seed.fields["pages"] for seed in read_seeds(str(file), chunk=1)] == [[3, 4], [3, 4]]


LOCKED = pdf("Secret.", password="x")
WRONG = {
    "locked": ("a.pdf", LOCKED, r"a\.pdf: is locked by a password; save it without one"),
    "scanned": ("a.pdf", pdf("", ""), r"a\.pdf: has no text, only pictures of it; run text recognition"),
    "torn": ("a.pdf", pdf("Tea.")[:300], r"a\.pdf: is no readable PDF \(.+\); save it again, or move"),
    "no PDF": ("a.pdf", b"Tea.", r"a\.pdf: is no readable PDF \(.+\); save it again, or move"),
    "empty PDF": ("a.pdf", b"", r"a\.pdf: is no readable PDF \(.+\); save it again, or move"),
    "no docx": ("a.docx", b"Tea.", r"a\.docx: is no readable \.docx \(File is not a zip file\); save it"),
    "empty docx": ("a.docx", docx(), r"a\.docx: holds no text; fill it, or move it away"),
    "page of a script": ("a.html", b"<script>x</script>", r"a\.html: holds no text; fill it, or move"),
    "no text": ("a.md", b"\xff\xfe\x00", r"a\.md: is no UTF-8 text \(.+\); convert it"),
}


@pytest.mark.parametrize(("name", "data", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_document_that_gives_no_text_is_named_with_its_mend(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    folder = folder_of(tmp_path, b_md=b"Good.")
    (folder / name).write_bytes(data)
    for path in (folder, folder / name):
        with pytest.raises(DataError, match=message):
            read_seeds(str(path))


def test_all_documents_that_can_not_be_read_are_named_at_once(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, a_pdf=LOCKED, b_md=b"Good.", c_pdf=pdf(""), d_docx=b"x")
    with pytest.raises(DataError, match=r"3 of its documents can't be read:(?s:.)*a\.pdf:.*\n.*c\.pdf:.*\n"):
        read_seeds(str(folder))


def test_a_pdf_that_only_its_owner_may_change_is_read(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, a_pdf=pdf("Open.", owner="x"))
    assert PdfReader(folder / "a.pdf").is_encrypted
    assert read_document(folder / "a.pdf").text == "Open."


def test_whatever_is_torn_out_of_a_document_is_one_error_or_a_text(tmp_path: Path) -> None:
    for name, whole in (("a.pdf", pdf("Tea is hot.", "Milk is cold.")), ("a.docx", docx(("heading 1", "T")))):
        file = tmp_path / name
        for start in range(0, len(whole), 23):
            file.write_bytes(whole[:start] + whole[start + 11 :])
            try:
                assert read_document(file).text
            except DataError as error:
                assert str(error).startswith(str(file))


def test_a_document_is_read_once_until_its_bytes_change(tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "a.pdf"
    file.write_bytes(pdf("Tea."))
    read_document(file)
    [kept] = cache.rglob("*.json")
    kept.write_text('{"text": "As kept.", "pages": [0]}')
    assert read_document(file) == Document("As kept.", Pages([0]))
    kept.write_text('{"text": "As ke')
    assert read_document(file).text == "Tea."
    file.write_bytes(pdf("Milk."))
    assert read_document(file).text == "Milk."
    assert len(list(cache.rglob("*.json"))) == 2


def test_another_column_becomes_the_text(tmp_path: Path) -> None:
    rows: list[dict[str, JSON]] = [{"body": "a b c", "n": 1}, {"body": "d", "n": 2}]
    path = str(tmp_path / "s.parquet")
    pq.write_table(pa.Table.from_pylist(rows), path)
    named = [dict(seed.fields) for seed in read_seeds(path, text="body")]
    assert named == [{"text": "a b c", "n": 1}, {"text": "d", "n": 2}]
    assert [seed.fields["text"] for seed in read_seeds(path, text="body", chunk=2)] == ["a b", "c", "d"]
    with pytest.raises(DataError, match=r'row 1 has no `bodi` for \[seeds\] text; did you mean "body"\?'):
        read_seeds(path, text="bodi")
    with pytest.raises(DataError, match=r"row 1 has no `x` for \[seeds\] text; known: body, n"):
        read_seeds(path, text="x")
    with pytest.raises(DataError, match=r"row 1 has no text in `n`; give it one, or leave the row out"):
        read_seeds(path, text="n")


def test_a_kind_that_is_none_of_seeds_is_told_all_that_are(tmp_path: Path) -> None:
    (tmp_path / "a.rst").write_text("Tea")
    with pytest.raises(DataError, match=r"seeds are \.jsonl, \.csv, \.parquet, .*\.yaml, .*\.pdf, \.docx\)"):
        read_seeds(str(tmp_path / "a.rst"))
