"""Settings of `predict`: which model answers, and how."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from shelfqa.config import Config
from shelfqa.models.wording import AnswerForm

GROUPS = ("vision", "connector", "language", "head")
"""What models are made of (`base.VqaModel.module_groups`); one may lack some."""

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Quantize = Literal["none", "nf4", "int8"]

_Probability = Annotated[float, Meta(ge=0, le=1)]

Answers = Annotated[
    str | None,
    Meta(description="File that names a classifier's outputs in their order, where the checkpoint does not."),
]
Regions = Annotated[
    str | None,
    Meta(
        description="Where LXMERT and ViLBERT take regions from: a ResNet's folder or hub name, or precomputed "
        "features, as .parquet or a folder of .npz."
    ),
]
RemoteCode = Annotated[bool, Meta(description="Let code run that comes with the checkpoint: read it first.")]
PickledWeights = Annotated[
    bool, Meta(description="Read .bin weights with torch's restricted unpickler where there are no safetensors.")
]


class PredictConfig(Config, frozen=True):
    """Settings of `predict`."""

    model: Annotated[
        str,
        Meta(
            description="A name of `shelfqa models`, a hub name, a folder, a hosted model as PROVIDER:NAME, or a "
            "blind baseline: majority, majority-per-type, question-only."
        ),
    ] = "mini"
    splits: Annotated[
        list[str] | None, Meta(description="Splits to answer; by default test where rows have a split, else all.")
    ] = None
    top_k: Annotated[int, Meta(description="How many answers to keep for each question.")] = 5
    batch_size: Annotated[
        int | None, Meta(description="Questions at once; by default 32 on a CPU, on a GPU what its memory holds.")
    ] = None
    shuffle_images: Annotated[
        bool, Meta(description="Ask each question of another product's picture: what is left is guessed blindly.")
    ] = False
    seed: Annotated[int, Meta(description="Seed of the shuffling and of the choice of examples.")] = 0
    limit: Annotated[int | None, Meta(description="Answer the first so many questions only.")] = None
    use_images: Annotated[
        Literal["all", "first"],
        Meta(
            description="Which pictures of a row are shown: all, numbered, or the first. A row of several fails where "
            "the model takes one."
        ),
    ] = "all"
    prompt: Annotated[
        str | None,
        Meta(
            description="Template with {question}, and {ocr} where texts on the picture go; by default what suits the "
            "model."
        ),
    ] = None
    answer_form: Annotated[
        AnswerForm,
        Meta(
            description="raw keeps what the model says; short and word reduce it by rules and keep the whole in the "
            "column reply; auto is short for chat and hosted models, else raw."
        ),
    ] = "auto"
    one_word: Annotated[bool, Meta(description="Stop writing where a second word begins.")] = False
    unanswerable_below: Annotated[
        _Probability | None,
        Meta(
            description="Say `unanswerable` where the best answer's probability is less than this. It then heads the "
            "alternatives; what failed or has no probability is left as it is.",
        ),
    ] = None
    explain: Annotated[
        bool,
        Meta(
            description="Keep where the model looked for each answer, in attention.parquet. Of mini alone, and not "
            "with --shuffle-images."
        ),
    ] = True
    max_new_tokens: Annotated[int, Meta(description="Longest answer in tokens, where the model writes.")] = 20
    beams: Annotated[
        int | None,
        Meta(
            description="Beams of the search, where the model writes; 1 takes the likeliest token each time. By "
            "default 5, or as many as --top-k."
        ),
    ] = None
    candidates: Annotated[
        str | None,
        Meta(
            description="Answers to choose from: common, all (of the training split), per-type (of it, by question "
            "type), or a file (.txt, .json, .csv). Dual encoders need them: by default all, or common without a "
            "training split."
        ),
    ] = None
    examples: Annotated[
        str | None,
        Meta(
            description="Solved examples to show: same-type (of the same product type, from the training split), or a "
            "table with question, answer and image_path."
        ),
    ] = None
    shots: Annotated[int, Meta(description="How many examples to show, where --examples is given.")] = 4
    ocr: Annotated[bool, Meta(description="Read the print on the pictures and put it into the prompt.")] = False
    answers: Answers = None
    regions: Regions = None
    image_side_px: Annotated[
        int | None, Meta(description="Side in pixels that pictures are scaled to; by default the checkpoint's.")
    ] = None
    split_images: Annotated[
        bool | None, Meta(description="Whether large pictures are cut into tiles, where the model knows tiles.")
    ] = None
    dtype: Annotated[
        Dtype, Meta(description="Type of the weights; auto is bfloat16 on a GPU that has it, else float32.")
    ] = "auto"
    attention: Annotated[
        Literal["sdpa", "flash_attention_2", "eager"] | None,
        Meta(description="How attention is computed; by default as transformers chooses, mostly sdpa."),
    ] = None
    remote_code: RemoteCode = False
    pickled_weights: PickledWeights = False
