"""What IFEval's reference reads from a text by libraries: its language (langdetect), its sentences (Punkt:
Kiss and Strunk 2006) and its words (NLTK). All of it works offline and says the same of the same text.
"""

import functools
from pathlib import Path
from typing import Any

SEED = 0
"""langdetect draws at random; here each text starts from this seed."""


@functools.lru_cache(maxsize=64)
def language(text: str) -> str | None:
    """The language's code as langdetect writes it, e.g. "en" or "zh-cn"; None where it finds nothing to go
    by, say in a text of digits.
    """
    from langdetect import LangDetectException

    detector = _languages().create()
    detector.append(text)
    try:
        return str(detector.detect())
    except LangDetectException:
        return None


def languages() -> frozenset[str]:
    """The codes of all languages that langdetect knows."""
    from langdetect import PROFILES_DIRECTORY

    return frozenset(file.name for file in Path(PROFILES_DIRECTORY).iterdir())


def sentences(text: str) -> list[str]:
    """The sentences of an English text, as NLTK's Punkt splits them."""
    return list(_punkt().tokenize(text))


def words(text: str) -> list[str]:
    """The words and marks of an English text, as NLTK's `word_tokenize` splits them."""
    from nltk.tokenize import NLTKWordTokenizer

    split = NLTKWordTokenizer().tokenize
    return [word for sentence in sentences(text) for word in split(sentence)]


def write_punkt(folder: Path) -> Path:
    """Writes the model of `sentences` as NLTK's data, for programs that look for it there: they need
    `NLTK_DATA` with the folder that is returned.
    """
    import punkt

    model, place = punkt.load_model("english"), folder / "tokenizers" / "punkt_tab" / "english"
    place.mkdir(parents=True, exist_ok=True)
    for name, rows in (
        ("abbrev_types.txt", sorted(model.abbrev_types)),
        ("sent_starters.txt", sorted(model.sent_starters)),
        ("collocations.tab", ["\t".join(pair) for pair in sorted(model.collocations)]),
        ("ortho_context.tab", [f"{word}\t{flags}" for word, flags in sorted(model.ortho_context.items())]),
    ):
        (place / name).write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return folder


@functools.cache
def _languages() -> Any:  # noqa: ANN401 langdetect has no types
    """A factory of its own: that of langdetect's module has no seed, and other code may use it."""
    from langdetect import PROFILES_DIRECTORY, DetectorFactory

    factory = DetectorFactory()
    factory.load_profile(PROFILES_DIRECTORY)
    factory.set_seed(SEED)
    return factory


@functools.cache
def _punkt() -> Any:  # noqa: ANN401 NLTK has no types
    """NLTK's splitter with its English model, which NLTK would download; here it comes from a package."""
    import punkt
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

    learned, model = punkt.load_model("english"), PunktParameters()
    model.abbrev_types.update(learned.abbrev_types)
    model.collocations.update(learned.collocations)
    model.sent_starters.update(learned.sent_starters)
    model.ortho_context.update(learned.ortho_context)
    return PunktSentenceTokenizer(model)
