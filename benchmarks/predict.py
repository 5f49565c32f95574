"""Shelfqa's answers beside a plain loop over transformers, one question at a time: the same answers, how much faster?

Two models at their true size with random weights, since speed does not depend on what they know: BLIP-VQA-base, and the
chat family at SmolVLM-256M's size. Five questions about each picture. The loop is what transformers' model cards show:
the processor and `generate` for every question, with the same beams and the same length. Both sides decode the same
files and run on the same device with the same threads; loading the weights is left out on both. The run fails if an
answer differs, or if shelfqa is less than 3 times as fast.

    python benchmarks/predict.py
    python benchmarks/predict.py --images 32 --device cuda --dtype bfloat16
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error"}
os.environ |= {"TOKENIZERS_PARALLELISM": "false"}

import torch
from full_size import blip_vqa_base, smolvlm_256m
from PIL import Image

from shelfqa.catalogue.demo.write import DemoConfig, draw_catalogue
from shelfqa.models.answering import Asked, Found, Pace, Search, answer_in_parts
from shelfqa.models.base import Loading, VqaModel
from shelfqa.models.loading import load_model, resolve_device, resolve_dtype
from shelfqa.models.wording import Wording

SLICE = Path(__file__).resolve().parent.parent.parent / "shared" / "abo" / "images" / "small"
"""Photographs of Amazon Berkeley Objects, where this machine has them; else pictures are drawn."""
QUESTIONS = (
    "What color is this product?",
    "What kind of product is shown in the picture?",
    "What material is it made of?",
    "How many are there?",
    "Is the surface of the product plain or patterned?",
)
_BAR = 3.0


class Side(NamedTuple):
    """What one side answered, and how long it took."""

    answers: list[str]
    seconds: float


class Case(NamedTuple):
    """A model and the plain loop that it is held against."""

    name: str
    make: Callable[[Path], Path]
    ask: Callable[[Any, Any, str, Image.Image, dict[str, Any]], str]
    load: Callable[[Path, torch.dtype], tuple[Any, Any]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both cases, print a table, return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=8, help="pictures, of five questions each")
    parser.add_argument("--beams", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=5, help="longest answer in tokens; random weights reach it")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16", "float16"])
    parser.add_argument("--only", choices=[case.name for case in CASES], help="one of the cases")
    parser.add_argument("--split-images", action="store_true", help="cut pictures into tiles (chat): 17 times the work")
    options = parser.parse_args(arguments)
    device = resolve_device(options.device)
    dtype = resolve_dtype(options.dtype, device)
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        paths = pictures(Path(folder), options.images)
        asked = [Asked(question, (path,)) for path in paths for question in QUESTIONS]
        print(
            f"{len(asked)} questions about {len(paths)} pictures, {options.beams} beams, up to {options.tokens} "
            f"tokens, {device} {str(dtype).removeprefix('torch.')}, {torch.get_num_threads()} threads"
        )
        print(f"{'model':<22}{'loop':>12}{'shelfqa':>12}{'ratio':>8}   questions a second, shelfqa   peak memory")
        for case in CASES:
            if options.only in (None, case.name):
                checkpoint = case.make(Path(folder) / case.name)
                ratios.append(compare(case, checkpoint, asked, device, dtype, options))
    print(f"ratio: {min(ratios):.1f} times")
    return 0 if min(ratios) >= _BAR else 1


def compare(
    case: Case, checkpoint: Path, asked: Sequence[Asked], device: torch.device, dtype: torch.dtype, options: Any
) -> float:
    """Print one row and return how many times as fast shelfqa is; an answer that differs ends the run."""
    loop = by_loop(case, checkpoint, asked, device, dtype, options)
    ours = by_shelfqa(checkpoint, asked, device, dtype, options)
    ratio: float = loop.seconds / ours.seconds
    memory = f"{torch.cuda.max_memory_allocated(device) / 1e9:.1f} GB" if device.type == "cuda" else "not measured"
    print(
        f"{case.name:<22}{loop.seconds:>10.1f} s{ours.seconds:>10.1f} s{ratio:>8.1f}   "
        f"{len(asked) / ours.seconds:>27.2f}   {memory}",
        flush=True,
    )
    different = [place for place, pair in enumerate(zip(loop.answers, ours.answers, strict=True)) if pair[0] != pair[1]]
    if different and dtype == torch.float32:
        place = different[0]
        sys.exit(
            f"{case.name}: {len(different)} answers differ; question {place}: the loop says "
            f"{loop.answers[place]!r}, shelfqa {ours.answers[place]!r}"
        )
    if different:
        print(f"{case.name}: {len(different)} of {len(asked)} answers differ, as {dtype} rounds")
    return ratio


@torch.inference_mode()  # type: ignore[untyped-decorator]
def by_loop(
    case: Case, checkpoint: Path, asked: Sequence[Asked], device: torch.device, dtype: torch.dtype, options: Any
) -> Side:
    """Answer one question after the other as transformers' model cards do."""
    module, processor = case.load(checkpoint, dtype)
    module.to(device).eval()
    if hasattr(processor.image_processor, "do_image_splitting"):
        processor.image_processor.do_image_splitting = options.split_images
    settings = {
        "do_sample": False, "num_beams": options.beams, "length_penalty": 0.0, "max_new_tokens": options.tokens,
    }  # fmt: skip
    case.ask(module, processor, asked[0].question, _read(asked[0].pictures[0]), settings)  # warm
    started = time.perf_counter()
    answers = [case.ask(module, processor, one.question, _read(one.pictures[0]), settings) for one in asked]
    return Side(answers, time.perf_counter() - started)


def by_shelfqa(
    checkpoint: Path, asked: Sequence[Asked], device: torch.device, dtype: torch.dtype, options: Any
) -> Side:
    """Answer through what `shelfqa predict` calls."""
    split = options.split_images if (checkpoint / "processor_config.json").is_file() else None
    model: VqaModel = load_model(str(checkpoint), device=str(device), loading=Loading(dtype=dtype, split_images=split))
    wording = Wording("{question}", "raw")
    search = Search(top_k=1, beams=options.beams, max_new_tokens=options.tokens)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)

    def run(some: Sequence[Asked]) -> list[Found]:
        with tempfile.TemporaryDirectory() as parts:
            found = answer_in_parts(
                some, lambda: model, Path(parts), wording=wording, search=search, pace=Pace(workers=2)
            )
        assert found is not None
        return found

    run(asked[: len(QUESTIONS)])  # warm
    started = time.perf_counter()
    found = run(asked)
    return Side([one.answers[0].text for one in found], time.perf_counter() - started)


def _read(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def pictures(folder: Path, number: int) -> list[Path]:
    """Return files of pictures: photographs where there are any, else drawn ones."""
    found = sorted(SLICE.rglob("*.jpg"))[:number]
    if len(found) < number:
        draw_catalogue(folder / "catalogue", DemoConfig(products=2 * number))
        found = sorted((folder / "catalogue").rglob("*.jpg"))[:number]
    return found


def _load_blip(checkpoint: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    from transformers import AutoTokenizer, BlipForQuestionAnswering, BlipImageProcessorPil, BlipProcessor

    processor = BlipProcessor(
        BlipImageProcessorPil.from_pretrained(checkpoint), AutoTokenizer.from_pretrained(checkpoint)
    )
    return BlipForQuestionAnswering.from_pretrained(checkpoint, dtype=dtype), processor


def _ask_blip(module: Any, processor: Any, question: str, image: Image.Image, settings: dict[str, Any]) -> str:
    inputs = processor(images=image, text=question, return_tensors="pt").to(module.device, module.dtype)
    ids = module.generate(**inputs, **settings)
    return str(processor.decode(ids[0, 1:], skip_special_tokens=True)).strip()


def _load_chat(checkpoint: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    module = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=dtype)
    return module, AutoProcessor.from_pretrained(checkpoint)


def _ask_chat(module: Any, processor: Any, question: str, image: Image.Image, settings: dict[str, Any]) -> str:
    turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
    text = processor.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
    inputs = processor(text=[text], images=[[image]], return_tensors="pt", add_special_tokens=False)
    inputs = inputs.to(module.device, module.dtype)
    ids = module.generate(**inputs, **settings)[0, inputs["input_ids"].shape[1] :]
    return str(processor.tokenizer.decode(ids, skip_special_tokens=True)).strip()


CASES = (
    Case("BLIP-VQA-base", blip_vqa_base, _ask_blip, _load_blip),
    Case("SmolVLM-256M", smolvlm_256m, _ask_chat, _load_chat),
)


if __name__ == "__main__":
    sys.exit(main())
