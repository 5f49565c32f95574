from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from shelfqa.artifacts import StageRun, build
from shelfqa.models.cards import (
    Base,
    Tuning,
    credit_of,
    front_matter,
    hub_name,
    licence_of,
    merged_card,
    public_name,
    tuning_card,
)
from tiny_models import Named

BLIP = Base("blip-vqa-base", "seq2seq", "BlipForQuestionAnswering", in_transformers=True)
TUNING = Tuning(
    preset="blip-lora-r16",
    method="LoRA, rank 16",
    full=False,
    questions=1200,
    validation=150,
    step=60,
    steps=100,
    exact_match=(0.1234, 0.5678),
    answers_added=0,
    credit="a shop's own",
)


def head_of(card: str) -> dict[str, object]:
    begin, head, _ = card.split("---\n", 2)
    assert begin == ""
    values: dict[str, object] = yaml.safe_load(head)
    return values


def test_the_hub_reads_what_an_adapter_is() -> None:
    card = tuning_card(BLIP, TUNING)
    assert head_of(card) == {
        "library_name": "peft",
        "pipeline_tag": "visual-question-answering",
        "base_model": "Salesforce/blip-vqa-base",
        "base_model_relation": "adapter",
        "license": "bsd-3-clause",
        "metrics": ["exact_match"],
        "tags": ["shelfqa", "vqa", "lora"],
    }
    assert "- Exact match on validation: 0.1234 before, 0.5678 after" in card
    assert "- Questions: 1,200 for training, 150 for validation" in card
    assert "--adapter THIS_FOLDER" in card
    assert 'BlipForQuestionAnswering.from_pretrained("Salesforce/blip-vqa-base")' in card
    assert "Pictures and texts: a shop's own." in card


def test_what_plain_peft_cannot_load_is_told() -> None:
    card = tuning_card(Base("vilt", "classifier", "ViltForQuestionAnswering", True), TUNING._replace(answers_added=7))
    assert "7 more outputs" in card
    assert "PeftModel" not in card
    ours = tuning_card(Base("mini", "classifier", "MiniForQuestionAnswering", False), TUNING)
    assert "MiniForQuestionAnswering, is none of transformers' own" in ours
    assert "base_model" not in head_of(ours)
    assert "--model mini --adapter" in ours


def test_a_chat_model_has_the_task_that_the_hub_calls_so() -> None:
    base = Base("qwen2.5-vl-3b", "chat", "Qwen2_5_VLForConditionalGeneration", True)
    head = head_of(tuning_card(base, TUNING))
    assert head["pipeline_tag"] == "image-text-to-text"
    assert (head["license"], head["license_name"]) == ("other", "Qwen Research (non-commercial)")


def test_no_card_names_a_folder_of_this_machine(tmp_path: Path) -> None:
    base = BLIP._replace(name=str(tmp_path / "my-blip"))
    whole = tuning_card(base, TUNING._replace(full=True, credit=None))
    for card in (tuning_card(base, TUNING), whole):
        assert str(tmp_path) not in card
        assert "my-blip" in card
        assert "base_model" not in head_of(card)
    assert head_of(whole)["library_name"] == "transformers"
    assert "owner is not recorded" in whole
    assert hub_name(str(tmp_path)) is None
    assert hub_name("someone/model") == "someone/model"
    assert public_name("vilt") == "dandelin/vilt-b32-finetuned-vqa"


def test_a_merged_card_keeps_what_the_adapter_was_trained_on(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(tuning_card(BLIP, TUNING))
    card = merged_card(
        BLIP, dtype="bfloat16", parity="all alike.", notes=["A note."], adapter_card=tmp_path / "README.md"
    )
    assert head_of(card)["base_model_relation"] == "merge"
    for line in (
        "- Weights: bfloat16, an adapter merged in",
        "- Adapter: of step 60 of 100",
        "- Method: LoRA, rank 16",
        "- Exact match on validation: 0.1234 before, 0.5678 after",
        "all alike.",
        "A note.",
        "Pictures and texts: a shop's own.",
    ):
        assert line in card
    assert card.count("## Data") == card.count("## Use") == card.count("## Licence") == 1
    (tmp_path / "README.md").write_text("- Weights: somebody else's card\n")
    other = merged_card(BLIP, dtype="float32", parity="-", notes=[], adapter_card=tmp_path / "README.md")
    assert "somebody" not in other


def test_the_licence_of_a_folder_is_what_its_card_says(tmp_path: Path) -> None:
    assert licence_of(str(tmp_path)) == {}
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n\n# A model\n")
    assert licence_of(str(tmp_path)) == {"license": "mit"}
    (tmp_path / "README.md").write_text("---\n: [\n---\n")
    assert front_matter(tmp_path / "README.md") == {}


def test_the_catalogue_is_credited_by_its_layout(tmp_path: Path) -> None:
    pictures = tmp_path / "abo" / "images" / "small"
    pictures.mkdir(parents=True)
    assert credit_of(pictures) is None
    assert credit_of(None) is None
    (tmp_path / "abo" / "images" / "metadata").mkdir()
    (tmp_path / "abo" / "images" / "metadata" / "images.csv.gz").touch()
    credit = credit_of(pictures)
    assert credit is not None
    assert "Amazon Berkeley Objects" in credit
    assert "CC BY 4.0" in credit

    def body(run: StageRun) -> None:
        run.write_text("anything", "")

    build("demo-catalogue", tmp_path / "abo", Named(), {}, body)
    drawn = credit_of(pictures)
    assert drawn is not None
    assert "no photographs" in drawn


@pytest.mark.parametrize("card", ["", "no front matter\n", "---\n- a list\n---\n"])
def test_a_card_without_front_matter_says_nothing(tmp_path: Path, card: str) -> None:
    (tmp_path / "README.md").write_text(card)
    assert front_matter(tmp_path / "README.md") == {}
