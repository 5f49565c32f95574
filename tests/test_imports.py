"""The import rule of docs/architecture.md, read from the code."""

from __future__ import annotations

import ast
from pathlib import Path

import shelfqa

PACKAGE = Path(shelfqa.__file__).parent
GROUND = {"errors", "records", "artifacts", "config", "registry", "progress", "statistics"}
GROUND |= {"text", "question_types", "images", "near_duplicates", "machine", "hub", "lines", "rows"}
GROUND |= {"digests", "installation", "heat"}
MIDDLE = {"catalogue", "questions", "models", "metrics", "training", "report"}
LEVEL = dict.fromkeys(GROUND, 0) | {"providers": 1} | dict.fromkeys(MIDDLE, 2) | {"stages": 3, "pipeline": 4, "cli": 5}
ALLOWED_SIBLINGS = {"training": ("models.base", "models.batching", "models.settings")}


def imports_of(path: Path) -> set[str]:
    """The shelfqa modules a file imports, without the leading `shelfqa.`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name.removeprefix("shelfqa.") for name in found if name.startswith("shelfqa.")}


def violations(module: str, imported: set[str]) -> list[str]:
    """What `module` (dotted, without `shelfqa.`) may not import of `imported`."""
    home = module.split(".")[0]
    wrong = []
    for name in sorted(imported):
        target = name.split(".")[0]
        if target == home and home != "stages":
            continue
        if target not in LEVEL:
            continue
        if home == "stages" and target == "stages":
            if name != module and not module.startswith(f"{name}."):
                wrong.append(f"{module} -> {name}")
        elif LEVEL[target] > LEVEL[home] or (LEVEL[target] == LEVEL[home] == 2 and not _is_allowed(home, name)):
            wrong.append(f"{module} -> {name}")
    return wrong


def _is_allowed(home: str, name: str) -> bool:
    return any(name == allowed or name.startswith(f"{allowed}.") for allowed in ALLOWED_SIBLINGS.get(home, ()))


def test_every_module_has_a_level() -> None:
    homes = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")}
    assert homes - {"__init__"} <= set(LEVEL)


def test_imports_point_one_way() -> None:
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        module = ".".join(part for part in parts if part != "__init__")
        if module:
            wrong += violations(module, imports_of(path))
    assert wrong == []


def test_the_rule_sees_a_wrong_import() -> None:
    assert violations("metrics.exact", {"models.base"}) == ["metrics.exact -> models.base"]
    assert violations("stages.score", {"stages.split"}) == ["stages.score -> stages.split"]
    assert violations("text", {"metrics.exact"}) == ["text -> metrics.exact"]
    assert violations("training.trainer", {"models.base", "text"}) == []


def test_modules_stay_small() -> None:
    long = {
        str(path.relative_to(PACKAGE)): lines
        for path in PACKAGE.rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert long == {}
