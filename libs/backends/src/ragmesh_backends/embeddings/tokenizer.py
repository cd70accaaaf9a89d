"""The model's own word pieces: to cut passages that fit it, and to feed it.

Encoding keeps no state and is safe from several threads at once. It goes through the tokenizer's batch calls, with
batches of one: only they release the GIL (its `encode` held it for 376 ms over 620,000 characters; the batch call
for 8 ms).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from ragmesh_backends.embeddings import weights
from ragmesh_backends.embeddings.weights import POSITIONS
from ragmesh_servicekit.errors import InvalidArgument

# Batches of one need no thread pool, and with one the library complains on standard error after a fork. It can be
# told so by its variable only; who starts the process may decide otherwise.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

SPECIAL_TOKENS = 2
"""[CLS] before and [SEP] after every text."""

DEFAULT_MAX_TOKENS = 256
"""The length that the model was published with (sentence_bert_config.json, max_seq_length)."""

_CHARS_READ_PER_TOKEN = 64
"""A text is cut at this many code points for each token before it is encoded, so that a huge one costs no more
than a long one. English needs 4 to 5 a token; only long runs of blanks or unbroken letters reach the limit."""


class WordPieces:
    """`max_tokens`: the longest input that `encode` makes, special tokens included; 3..512."""

    def __init__(self, path: Path, max_tokens: int = DEFAULT_MAX_TOKENS) -> None:
        if not SPECIAL_TOKENS < max_tokens <= POSITIONS:
            raise InvalidArgument.field("max_tokens", f"must be between {SPECIAL_TOKENS + 1} and {POSITIONS}")
        try:
            self._tokenizer: Tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the binding raises bare Exception
            raise weights.unusable(
                f"the embedding model's file {path.name} cannot be used; install the package again"
            ) from error
        # The file asks for padding to 128 and truncation at 128; both are decided here instead.
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.max_tokens = max_tokens

    def count(self, text: str) -> int:
        """Word pieces of the whole text, without special tokens."""
        return len(_one(self._tokenizer.encode_batch_fast, text, special=False))

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Half-open ranges of code points of `text`, one for each word piece, in order, without special tokens.

        A range covers what the piece was made from, so accents that normalisation drops are inside.
        """
        spans: list[tuple[int, int]] = _one(self._tokenizer.encode_batch, text, special=False).offsets
        return spans

    def encode(self, text: str) -> NDArray[np.int64]:
        """The model's input for `text`, (tokens,), at most max_tokens; what is longer is cut at the end."""
        start = text[: self.max_tokens * _CHARS_READ_PER_TOKEN]
        ids: list[int] = _one(self._tokenizer.encode_batch_fast, start, special=True).ids
        if len(ids) > self.max_tokens:
            ids = [*ids[: self.max_tokens - 1], ids[-1]]
        return np.array(ids, dtype=np.int64)


def _one(batch: Callable[..., list[Encoding]], text: str, *, special: bool) -> Encoding:
    """The result of one of the tokenizer's batch calls; the `fast` one leaves the offsets out."""
    try:
        return batch([text], add_special_tokens=special)[0]
    except (TypeError, UnicodeError) as error:
        # A str can hold lone surrogates, which no UTF-8 text can.
        raise InvalidArgument.field("text", "must be Unicode text without lone surrogates") from error
