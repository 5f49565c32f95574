from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub_server import Hub, hub_server
from shelfqa.errors import InputError, UserError
from shelfqa.hub import check_push, files_to_push, push
from shelfqa.models.publishing import copy_for_hub

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_server(monkeypatch) as found:
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "checkpoint"
    (made / "qformer_tokenizer").mkdir(parents=True)
    (made / ".work").mkdir()
    for name, text in {
        "README.md": "---\nlicense: mit\n---\n\n# A model\n",
        "config.json": '{"model_type": "blip"}',
        "model[1].safetensors": "weights",
        "qformer_tokenizer/tokenizer.json": json.dumps({"/tmp/": 1, str(Path.home()): 2}),
        ".work/key": "k",
        "manifest.json": json.dumps({"images": str(tmp_path)}),
        "parity.json": "{}",
    }.items():
        (made / name).write_text(text)
    return made


PUSHED = {"README.md", "config.json", "model[1].safetensors", "qformer_tokenizer/tokenizer.json"}


def test_a_folder_is_uploaded_but_for_what_is_this_machines(hub: Hub, folder: Path) -> None:
    assert push(folder, "me/shop-vqa").endswith("/me/shop-vqa")
    assert set(hub.repositories["me/shop-vqa"]) == PUSHED
    assert hub.repositories["me/shop-vqa"]["model[1].safetensors"] == b"weights"
    assert hub.private["me/shop-vqa"]
    push(folder, "me/other", public=True)
    assert not hub.private["me/other"]


def test_what_would_be_uploaded_can_be_asked_without_a_network(folder: Path) -> None:
    found = files_to_push(folder)
    assert {file.path for file in found} == PUSHED
    assert next(file.size for file in found if file.path == "model[1].safetensors") == len("weights")
    (folder.parent / "empty").mkdir()
    with pytest.raises(InputError, match="nothing to push"):
        files_to_push(folder.parent / "empty")


@pytest.mark.parametrize("where", ["home", "working folder", "base"])
def test_a_text_that_names_a_folder_of_this_machine_is_not_uploaded(hub: Hub, folder: Path, where: str) -> None:
    base = folder.parent / "base model"
    named = {"home": Path.home() / "models" / "x", "working folder": Path.cwd() / "x", "base": base}[where]
    (folder / "extra.json").write_text(json.dumps({"trained": {"on": f"{named}"}}))
    with pytest.raises(InputError, match=r"extra\.json.* would be uploaded and names"):
        push(folder, "me/shop-vqa", private_paths=[base])
    assert hub.requests == []


def test_an_adapter_is_copied_without_its_bases_folder(tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    base = tmp_path / "my-blip"
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base), "r": 8}))
    (adapter / "shelfqa.json").write_text(json.dumps({"base_model": str(base), "state": {}}))
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    settings = f'    model: {json.dumps(str(base))}\n    answers: "/data/of mine/list.txt"\n    rank: 8\n'
    (adapter / "README.md").write_text(f"# A card\n\n{settings}")
    copy_for_hub(adapter, tmp_path / "copy")
    assert json.loads((tmp_path / "copy" / "adapter_config.json").read_text()) == {
        "base_model_name_or_path": None,
        "r": 8,
    }
    assert json.loads((tmp_path / "copy" / "shelfqa.json").read_text()) == {"base_model": "my-blip", "state": {}}
    assert (tmp_path / "copy" / "adapter_model.safetensors").read_bytes() == b"weights"
    card = (tmp_path / "copy" / "README.md").read_text()
    assert card == '# A card\n\n    model: "my-blip"\n    answers: "list.txt"\n    rank: 8\n'
    assert len(files_to_push(tmp_path / "copy")) == 4
    assert str(base) in (adapter / "shelfqa.json").read_text()  # the adapter itself is as it was

    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "blip-vqa-base"}))
    copy_for_hub(adapter, tmp_path / "known")
    named = json.loads((tmp_path / "known" / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert named == "Salesforce/blip-vqa-base"
    (adapter / "adapter_config.json").write_text("[")
    with pytest.raises(InputError, match="Cannot read"):
        copy_for_hub(adapter, tmp_path / "broken")


def test_each_hindrance_is_told_in_one_line(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    check_push("me/shop-vqa")
    with pytest.raises(UserError, match="give OWNER/NAME"):
        check_push("shop-vqa")
    with pytest.raises(UserError, match="give OWNER/NAME"):
        check_push("me/shop vqa")
    hub.role.append("read")
    with pytest.raises(UserError, match="may only read"):
        check_push("me/shop-vqa")
    hub.role.append("write")
    monkeypatch.setenv("HF_TOKEN", "hf_of_another")
    with pytest.raises(UserError, match="does not accept the token") as refused:
        check_push("me/shop-vqa")
    assert "\n" not in str(refused.value)
    assert "hf_of_another" not in str(refused.value)
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(UserError, match="hf auth login"):
        check_push("me/shop-vqa")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        check_push("me/shop-vqa")


def test_another_owners_repository_is_refused(hub: Hub, folder: Path) -> None:
    with pytest.raises(UserError, match="may not write to 'you/shop-vqa'"):
        push(folder, "you/shop-vqa")
    assert hub.repositories == {}


def test_a_hub_that_is_not_there_is_told(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="cannot be reached"):
        check_push("me/shop-vqa")


def test_without_the_hubs_client_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "huggingface_hub" else find(name, *more)
    )
    with pytest.raises(UserError, match=r"pip install 'shelfqa\[models\]'"):
        check_push("me/shop-vqa")
