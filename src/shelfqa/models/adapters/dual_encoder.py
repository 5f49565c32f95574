"""CLIP (Radford et al. 2021, arXiv 2103.00020), SigLIP and SigLIP 2 (arXiv 2303.15343, 2502.14786) as dual encoders.

    picture -> vision_model ------------------------------+
                                                          +--> cosine * exp(logit_scale) (+ logit_bias)
    "Question: … Answer: candidate" -> text_model --------+

Such a model says how well a text suits a picture, so each candidate answer becomes a text. Probabilities are a softmax
over a question's candidates; for SigLIP too, whose sigmoid judges each text on its own: the ranking is the same.

The published predictions that we compare with (CLIP ViT-B/32 on Amazon Berkeley Objects, "fixed answers") name 64
everyday words in 2,091 rows, among them `phone`, `morning` and `living room`; 40 % of the right answers are among those
64. The whole list and the wording of the study's texts are not published with them, so it cannot be repeated exactly.
Our list `common` (`shelfqa.models.answer_lists`) is another one, made for products; the 64 words can be had as a file.
"""

from __future__ import annotations

import importlib.util
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from shelfqa.errors import InputError, UserError
from shelfqa.models.adapters.packed_texts import pack, rows_of
from shelfqa.models.adapters.resolution import native_side_px, position_settings, set_resolution
from shelfqa.models.adapters.text_cache import TextCache
from shelfqa.models.base import (
    Decoding,
    Features,
    Loading,
    PictureInputs,
    Query,
    TokenCount,
    VqaModel,
    distinct_answers,
)
from shelfqa.records import Answer
from shelfqa.text import normalize_answer

_TEXTS_AT_ONCE = 256
_ROWS_AT_ONCE = 64
_TAKES_ANY_MASK = ("sdpa", "eager")
"""The kinds of attention that heed a mask of any form."""
_CACHE_BYTES = 1 << 30
"""What is kept of texts across calls: half a million of CLIP ViT-B/32's.

Of 44,000 questions about Amazon Berkeley Objects 64 % repeat an earlier one. Counted in the order of their file, in
parts of 128 and with 360 candidates each, 95 % of their texts have to be embedded without the cache, 65 % with it, and
36 % were it boundless.
"""
_MOST_OBLONG = 64
"""How many times its short side a picture's long side may be, where the middle is cut out after scaling."""


class _Text(NamedTuple):
    """A question with one of its possible answers, as the text encoder is to read it."""

    question: str
    answer: str

    def render(self, question_length: int | None = None) -> str:
        """Return the text, with so many characters of its question."""
        return f"Question: {self.question[:question_length].strip()} Answer: {self.answer.strip()}"


class DualEncoderVqa(VqaModel):
    """Drives `CLIPModel`, `SiglipModel` and `Siglip2Model`; the last where pictures keep their proportions (NaFlex)."""

    family = "dual-encoder"
    needs_candidates = True

    def __init__(self, module: Any, tokenizer: Any, image_processor: Any, name: str) -> None:
        self.module = module
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.name = name
        text, vision = module.config.text_config, module.config.vision_config
        self._is_clip = module.config.model_type == "clip"
        self._max_tokens = text.max_position_embeddings
        self._positions: dict[str, Any] = {}
        if not getattr(image_processor, "max_num_patches", None):  # NaFlex always interpolates
            side_px = native_side_px(image_processor)
            self._positions = position_settings(module.get_image_features, side_px, vision.image_size, name)
        self._kept: TextCache[tuple[str, tuple[str, ...]], _Text] = TextCache(_CACHE_BYTES)

    @classmethod
    def from_pretrained(cls, source: str, name: str, loading: Loading) -> Self:
        """Read a checkpoint from a folder or the hub.

        Raises:
            UserError: if the model does not take pictures of the side that `loading` asks for.

        """
        from transformers import AutoModel

        # transformers 5.17 hides the class under its usual name from who has no torchvision.
        from transformers.models.auto.image_processing_auto import AutoImageProcessor

        module = AutoModel.from_pretrained(source, **loading.of_model())
        image_processor = AutoImageProcessor.from_pretrained(source, **loading.of_processor())
        if loading.image_side_px is not None:
            patch_px = module.config.vision_config.patch_size
            set_resolution(image_processor, loading.image_side_px, patch_px=patch_px)
        return cls(module, _tokenizer(source, name), image_processor, name)

    def inputs(self, image: Image.Image) -> PictureInputs:
        """Scale as the checkpoint's processor says; CLIP sees the square in the middle.

        Raises:
            ValueError: if the picture is so long that scaling its short side would take gigabytes.

        """
        crops = getattr(self.image_processor, "do_center_crop", False)
        if crops and max(image.size) > _MOST_OBLONG * min(image.size):
            raise ValueError(f"one side is more than {_MOST_OBLONG} times the other")
        made = self.image_processor(images=[image], return_tensors="pt")
        return {name: made[name] for name in self.image_processor.model_input_names if name in made}

    def encode(self, pictures: Sequence[PictureInputs]) -> Tensor:
        """Embed pictures; [n, 1, d] of length 1."""
        tensors = {name: torch.cat([picture[name] for picture in pictures]) for name in pictures[0]}
        placed = {
            name: self.placed(tensor) if tensor.is_floating_point() else tensor.to(self.device)
            for name, tensor in tensors.items()
        }
        pooled: Tensor = self.module.get_image_features(**placed, **self._positions).pooler_output
        features: Tensor = normalize(pooled.float(), dim=-1).unsqueeze(1)
        return features

    def answer(self, features: Features, queries: Sequence[Query], decoding: Decoding) -> list[list[Answer]]:
        """Return the likeliest candidates, with the probability of each among the query's candidates.

        Raises:
            InputError: if a query has no candidates.

        """
        if not all(query.candidates for query in queries):
            raise InputError(f"{self.name!r} can only choose from a list of answers: give --candidates common.")
        distinct = {(query.question, query.candidates): query for query in queries}
        wanted = {key: _texts(query, query.candidates) for key, query in distinct.items()}
        texts = self._kept.get(self._state(), wanted, self._embed)
        found = []
        for query in queries:
            key = (query.question, query.candidates)
            scores = self._scores(features[query.images[0]], texts[key]).softmax(-1)
            best = scores.topk(min(decoding.top_k, len(scores)))
            chosen = [wanted[key][place].answer for place in best.indices.tolist()]
            found.append(distinct_answers(map(Answer, chosen, best.values.tolist()), decoding.top_k))
        return found

    def loss(self, features: Features, queries: Sequence[Query], answers: Sequence[str]) -> Tensor:
        """Return the mean cross-entropy of the right answer among the distinct answers of the batch.

        All answers are normalised (`shelfqa.text`); a query's own candidates, where it has any, are added to the
        answers that it is to choose from. A batch of b questions embeds up to b² texts, so that candidates by the
        hundred cost memory.
        """
        right = [normalize_answer(answer) for answer in answers]
        of_batch = dict.fromkeys(right)
        choices = [
            _texts(query, [*(of_batch | dict.fromkeys(normalize_answer(text) for text in query.candidates))])
            for query in queries
        ]
        places = {text: place for place, text in enumerate(dict.fromkeys(text for some in choices for text in some))}
        embedded = self._embed(list(places))
        losses = []
        for query, some, answer in zip(queries, choices, right, strict=True):
            scores = self._scores(features[query.images[0]], embedded[[places[text] for text in some]])
            label = next(place for place, text in enumerate(some) if text.answer == answer)
            losses.append(cross_entropy(scores[None], torch.tensor([label], device=scores.device)))
        return torch.stack(losses).mean()

    def _scores(self, picture: Tensor, texts: Tensor) -> Tensor:
        """Return how well texts [c, d] suit a picture [1, d]; [c], in float32 whatever the weights' type.

        No matrix product, which autocast would round to 8 bits: CLIP multiplies the cosine by 100.
        """
        cosine = (texts.float() * picture.to(self.device, torch.float32)).sum(-1)
        scores = cosine * self.module.logit_scale.float().exp()
        bias = getattr(self.module, "logit_bias", None)
        return scores if bias is None else scores + bias.float()

    def _embed(self, texts: Sequence[_Text]) -> Tensor:
        """Return embeddings [t, d] of length 1, computed in batches."""
        ids = self._tokens(texts)
        if self._is_clip and self.module.text_model.config._attn_implementation in _TAKES_ANY_MASK:
            embedded, order = self._embed_packed(ids, texts)
        else:
            embedded, order = self._embed_each(ids)
        back = torch.tensor(order, device=self.device).argsort()
        found: Tensor = normalize(embedded.float(), dim=-1)[back]
        return found

    def _embed_packed(self, ids: Sequence[list[int]], texts: Sequence[_Text]) -> tuple[Tensor, list[int]]:
        """Return embeddings [t, d], and whose they are; a question is read once for a row of its answers."""
        groups: dict[str, list[int]] = {}
        for place, text in enumerate(texts):
            groups.setdefault(text.question, []).append(place)
        rows = rows_of(ids, list(groups.values()), self._max_tokens)
        found = []
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            packed = pack(rows[start : start + _ROWS_AT_ONCE], self.tokenizer.eos_token_id)
            hidden = torch.zeros(packed.visible.shape, dtype=self.dtype).masked_fill(~packed.visible, -torch.inf)
            states = self.module.text_model(
                input_ids=packed.ids.to(self.device),
                position_ids=packed.positions.to(self.device),
                attention_mask=hidden.to(self.device),
            ).last_hidden_state
            found.append(self.module.text_projection(states[packed.ends]))
        return torch.cat(found), [place for row in rows for place in row.texts]

    def _embed_each(self, ids: Sequence[list[int]]) -> tuple[Tensor, list[int]]:
        """Return embeddings [t, d], and whose they are; the texts stand alone, in batches of about equal length."""
        order = sorted(range(len(ids)), key=lambda place: (len(ids[place]), place))
        found = []
        for start in range(0, len(order), _TEXTS_AT_ONCE):
            some = [ids[place] for place in order[start : start + _TEXTS_AT_ONCE]]
            # CLIP looks at the first end token and no later ones; SigLIP learned from texts of full length.
            length = max(map(len, some)) if self._is_clip else self._max_tokens
            fill = self.tokenizer.eos_token_id if self._is_clip else self.tokenizer.pad_token_id
            rows = torch.tensor([[*one, *[fill] * (length - len(one))] for one in some], device=self.device)
            found.append(self.module.get_text_features(input_ids=rows).pooler_output)
        return torch.cat(found), order

    def _tokens(self, texts: Sequence[_Text]) -> list[list[int]]:
        """Return the tokens of each text; of one that is too long, the question is shortened and the answer stays."""
        ids = self._tokenized([text.render() for text in texts])
        longest: dict[str, int] = {}  # how much of a question could be kept at most, whatever the answer
        for place, text in enumerate(texts):
            if len(ids[place]) > self._max_tokens:
                if text.question not in longest:
                    longest[text.question] = self._room(_Text(text.question, ""), len(text.question))
                room = self._room(text, longest[text.question])
                ids[place] = self._tokenized([text.render(room)], truncation=True)[0]
        return ids

    def _room(self, text: _Text, most: int) -> int:
        """Return how many characters of the question, at most `most`, fit together with the whole answer."""

        def tokens(length: int) -> int:
            return len(self._tokenized([text.render(length)])[0])

        length = max(0, bisect_right(range(most + 1), self._max_tokens, key=tokens) - 1)
        while length and tokens(length) > self._max_tokens:  # a longer text can make fewer tokens
            length -= 1
        return length

    def _tokenized(self, texts: Sequence[str], *, truncation: bool = False) -> list[list[int]]:
        """Return tokens with the ends that the model expects; the names of special tokens are taken for plain text."""
        if not self._is_clip:
            texts = [text.lower() for text in texts]  # not every tokenizer that SigLIP 2 comes with does it
        found: list[list[int]] = self.tokenizer(
            list(texts),
            truncation=truncation,
            max_length=self._max_tokens if truncation else None,
            split_special_tokens=True,
            verbose=False,
        )["input_ids"]
        return found

    def _state(self) -> tuple[Any, ...] | None:
        """Return what tells whether a text would be embedded as before; None in training, where dropout may differ."""
        if self.module.training:
            return None
        kind = self.device.type
        precision = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else self.dtype
        return self.device, precision, *((id(weight), weight._version) for weight in self.module.parameters())

    def module_groups(self) -> Mapping[str, tuple[str, ...]]:
        """The head is the last map of the text encoder; that of the pictures is vision, features being made by it."""
        return {
            "vision": ("vision_model", "visual_projection"),
            "language": ("text_model",),
            "head": ("text_projection",) if self._is_clip else ("text_model.head",),
        }

    def token_counts(
        self, questions: Sequence[str], answers: Sequence[str], pictures: Sequence[int]
    ) -> list[TokenCount]:
        """Count the texts of question and right answer; a question is shortened for the sake of its answer."""
        texts = list(map(_Text, questions, answers))
        wholes = self._lengths([text.render() for text in texts])
        without_question = self._lengths([text.render(0) for text in texts])
        without_answer = self._lengths([_Text(text.question, "").render() for text in texts])
        counts = []
        for whole, alone, asked, picture in zip(wholes, without_question, without_answer, pictures, strict=True):
            answer_cut = max(0, alone - self._max_tokens)
            cut = max(0, whole - self._max_tokens - answer_cut)
            counts.append(TokenCount(asked, max(0, whole - asked), picture, cut, answer_cut))
        return counts

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        lengths = dict.fromkeys(texts, 0)
        if lengths:
            lengths.update(zip(lengths, map(len, self._tokenized(list(lengths))), strict=True))
        return [lengths[text] for text in texts]

    def save_pretrained(self, folder: Path) -> None:
        """Write weights, configuration, tokenizer and image processor."""
        self.module.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        self.image_processor.save_pretrained(folder)


def _tokenizer(source: str, name: str) -> Any:
    """Return the checkpoint's tokenizer; SigLIP's of 2023 is one of sentencepiece."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except (ValueError, ImportError):
        for package, module in (("sentencepiece", "sentencepiece"), ("protobuf", "google.protobuf")):
            if not _is_installed(module):
                raise UserError(
                    f"The tokenizer of {name!r} needs the package {package!r}: pip install {package}."
                ) from None
        raise


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _texts(query: Query, answers: Sequence[str]) -> list[_Text]:
    """Return the query's question with each distinct answer."""
    return [_Text(query.question, answer) for answer in dict.fromkeys(answer.strip() for answer in answers)]
