"""Generate: question-answer pairs about the curated products, each with where it comes from."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from shelfqa import artifacts
from shelfqa.artifacts import Manifest, StageRun
from shelfqa.errors import ConfigError, did_you_mean
from shelfqa.models.presets import source_of
from shelfqa.progress import say
from shelfqa.providers.base import PROVIDERS, Provider
from shelfqa.providers.client import Client, Told
from shelfqa.providers.estimate import Estimate, Unasked, estimate
from shelfqa.providers.settings import ClientConfig
from shelfqa.providers.store import open_store
from shelfqa.questions.feedback import Feedback, read_feedback
from shelfqa.questions.from_file import questions_from_files
from shelfqa.questions.from_metadata import FIELDS, questions_from_metadata
from shelfqa.questions.from_model import (
    Count,
    Questionnaire,
    failures_table,
    forget_failed,
    outcomes_of,
    questions_from_model,
)
from shelfqa.questions.pairs import Pair, questions_table
from shelfqa.questions.settings import GenerateConfig
from shelfqa.questions.styles import load_style
from shelfqa.records import PRODUCT_COLUMNS, Drop

_DAY_S = 86_400.0
_OF_MODELS = frozenset({"gemini", "openai", "anthropic", "local", "scripted"})


def generate(
    curated: Path,
    out: Path,
    config: GenerateConfig,
    *,
    client: ClientConfig | None = None,
    device: str = "auto",
    retry_failed: bool = False,
) -> Manifest:
    """Write `questions` about the products in the folder `curated`, `dropped`, and `images` as curated.

    A model's run also writes `failures`: products without a question, each with its reason and the reply as it came.
    Replies are kept one by one, so that a run that is broken off pays for nothing twice.

    Args:
        curated: the folder that `curate` wrote.
        out: the folder to make.
        config: the settings.
        client: limits and money, where a model is asked.
        device: where a `local` model runs.
        retry_failed: whether to ask a finished run's failed products again.

    Raises:
        ConfigError: for an unknown field or style, a provider `file` without files, a model that is not named.
        InputError: if an input is missing or lacks a column.
        UserError: if asking a model has to stop: its message says why, and the same call goes on.

    """
    inputs = _inputs(curated, config)
    settings = client or ClientConfig()

    def body(run: StageRun) -> None:
        _generate(run, curated, config, settings, device, retry_failed=retry_failed)

    return artifacts.build("generate", out, config, inputs, body, again=retry_failed and config.provider in _OF_MODELS)


def estimated(curated: Path, out: Path, config: GenerateConfig, *, client: ClientConfig | None = None) -> Estimate:
    """Return what `generate` with the same arguments would still ask a model, and what that would cost.

    Raises:
        ConfigError: if no model would be asked, or as `generate` does.
        InputError: if an input is missing or lacks a column.

    """
    inputs = _inputs(curated, config)
    if config.provider not in _OF_MODELS:
        raise ConfigError(f"The provider {config.provider!r} asks no model: there is nothing to estimate.")
    settings = client or ClientConfig()
    _, _, key = artifacts.identity("generate", out, config, inputs)
    products = _products(curated, config)
    questionnaire = _questionnaire(curated, products, config, _feedback(products, config))
    with open_store(settings.store, beside=out) as store:
        unasked = Unasked(config.provider, config.model or "")
        return estimate(Client(unasked, settings, store, run=key), questionnaire)


def _inputs(curated: Path, config: GenerateConfig) -> dict[str, Path]:
    """Check the settings and return what the stage reads, by role."""
    for name in config.fields:
        if name not in FIELDS:
            raise ConfigError(f"generate.fields: unknown field {name!r}.{did_you_mean(name, FIELDS)}")
    if config.provider == "file" and not config.files:
        raise ConfigError("generate: the provider 'file' needs --files FILE (in a recipe: generate.files: [FILE]).")
    if config.provider != "file" and config.files:
        raise ConfigError("generate: --files is read by --provider file only; add that, or leave the files out.")
    if config.provider in _OF_MODELS and not config.model:
        raise ConfigError(f"generate: the provider {config.provider!r} needs --model NAME.")
    if config.provider not in _OF_MODELS and config.model:
        raise ConfigError(
            f"generate: the provider {config.provider!r} asks no model: leave out --model, or name another --provider."
        )
    inputs = {"curated": curated} | {f"file:{name}": Path(name) for name in config.files}
    if config.provider in _OF_MODELS:
        load_style(config.style)
        inputs |= {"style": Path(config.style)} if Path(config.style).is_file() else {}
        inputs |= {"feedback": Path(config.feedback)} if config.feedback is not None else {}
        if config.provider == "local" and (folder := Path(source_of(config.model or ""))).is_dir():
            inputs["model"] = folder
    return inputs


def _generate(
    run: StageRun, curated: Path, config: GenerateConfig, client: ClientConfig, device: str, *, retry_failed: bool
) -> None:
    manifest = artifacts.read_manifest(curated, missing_ok=True)
    run.images = Path(manifest.images) if manifest is not None and manifest.images is not None else None
    products = _products(curated, config)
    pairs: list[Pair]
    drops: list[Drop]
    if config.provider in _OF_MODELS:
        pairs, drops = _ask(run, curated, products, config, client, device, retry_failed=retry_failed)
    elif config.provider == "file":
        pairs, drops = questions_from_files(products, map(Path, config.files), config.columns)
    else:
        pairs, drops = questions_from_metadata(
            products, config.fields, per_product=config.per_product, seed=config.seed
        )
    table = questions_table(pairs)
    run.write_table("questions", table)
    run.drop_rows(drops)
    if (curated / "images.parquet").is_file():
        run.write_table("images", artifacts.read_table(curated, "images"))
    run.counts.read = len(pairs) + len(drops)
    run.counts.kept = len(pairs)
    run.details |= {
        "by_task": _by_count(table["task"].to_pylist()),
        "by_source": _by_count([pair.source.model for pair in pairs]),
        "by_field": _by_count([pair.source.field or "none" for pair in pairs]),
        "by_given_split": _by_count([pair.split or "none" for pair in pairs]),
        "products": len({pair.product_id for pair in pairs}),
        "images": len({path for pair in pairs for path in pair.image_paths}),
    }


def _products(curated: Path, config: GenerateConfig) -> pa.Table:
    products = artifacts.read_table(curated, "products", PRODUCT_COLUMNS.names)
    if config.provider in _OF_MODELS:
        products = products.sort_by([("image_path", "ascending"), ("product_id", "ascending")])
        return products if config.limit is None else products.slice(0, config.limit)
    return products


def _feedback(products: pa.Table, config: GenerateConfig) -> Feedback:
    return Feedback({}, [], {}) if config.feedback is None else read_feedback(Path(config.feedback), products)


def _questionnaire(curated: Path, products: pa.Table, config: GenerateConfig, feedback: Feedback) -> Questionnaire:
    return Questionnaire(
        products=products,
        style=load_style(config.style),
        images=None if config.text_only else artifacts.image_folder(curated, None),
        image_side_px=config.image_side_px,
        feedback=feedback.texts,
        seed=config.seed,
    )


def _provider(config: GenerateConfig, settings: ClientConfig, device: str) -> Provider:
    made: Provider
    if config.provider == "local":
        from shelfqa.models.local import LocalProvider

        made = LocalProvider(config.model or "", device=device)
    else:
        load = PROVIDERS.load(config.provider)
        made = load(config.model, base_url=settings.base_url or "", timeout_s=settings.timeout_s)
    return made


def _ask(
    run: StageRun,
    curated: Path,
    products: pa.Table,
    config: GenerateConfig,
    settings: ClientConfig,
    device: str,
    *,
    retry_failed: bool,
) -> tuple[list[Pair], list[Drop]]:
    """Ask a model about all products, and read its replies in their order."""
    feedback = _feedback(products, config)
    questionnaire = _questionnaire(curated, products, config, feedback)
    with open_store(settings.store, beside=run.out) as store:
        if config.provider == "local":  # one machine answers in its own time, a few at once
            settings = msgspec.structs.replace(settings, concurrency=min(settings.concurrency, 16), timeout_s=_DAY_S)
        client = Client(_provider(config, settings, device), settings, store, run=run.key)
        store.forget_failures(run.key)  # of a run that was broken off: they may pass this time
        if retry_failed:
            forget_failed(questionnaire, client.replies)
        count = Count()
        client.complete(
            questionnaire, lambda job, outcome: count.see(job.id, outcome), Told(lambda: count.note, "generate")
        )
        provider = client.provider
        written = questions_from_model(
            questionnaire,
            outcomes_of(questionnaire, client.replies),
            provider=provider.name,
            model=provider.model,
            yes_share=config.yes_share,
        )
        spent = store.spent(run.key)
        known = client.price is not None
    run.write_table("failures", failures_table(written.failed))
    run.details["failures"] = _by_count([one.reason for one in written.failed])
    run.details["redacted"] = feedback.redacted
    run.details["spent"] = spent._asdict() | {"dollars": round(spent.dollars, 6) if known else None}
    _tell(run, known=known)
    return written.pairs, written.drops + feedback.drops


def _tell(run: StageRun, *, known: bool) -> None:
    """Say what was spent, and what failed."""
    spent, failures = run.details["spent"], run.details["failures"]
    money = f"${spent['dollars']:,.4f}" if known else "at no known price"
    lost = f"; {spent['unknown']} replies were lost as the run was killed" if spent["unknown"] else ""
    say(f"  {spent['requests']:,} requests, {spent['tokens']:,} tokens, {money}{lost}")
    if failures:
        reasons = ", ".join(f"{reason} {number:,}" for reason, number in failures.items())
        say(
            f"  {sum(failures.values()):,} products without a question ({reasons}): {run.out / 'failures.parquet'} "
            "lists them, --retry-failed asks again."
        )


def _by_count(values: list[Any]) -> dict[str, int]:
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))
