"""`shelfqa run RECIPE.yaml`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from shelfqa.cli.options import ARTIFACT, device_option
from shelfqa.pipeline import recipe as recipes
from shelfqa.pipeline.run import run_recipe


@click.command(epilog="Example:  shelfqa run recipes/demo.yaml --set train.epochs=4")
@click.argument("recipe", type=ARTIFACT)
@click.option("--out", type=ARTIFACT, help="Folder of the run. [default: runs/NAME-OF-THE-RECIPE]")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting. Repeat for several.")
@device_option
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def run(recipe: Path, out: Path | None, overrides: tuple[str, ...], device: str, as_json: bool) -> None:
    """Run a whole RECIPE: catalogue, questions, split, baselines, fine-tuning, scores, report.

    What is done is not done again, and a run that was killed goes on where it was.
    """
    plan = recipes.read_recipe(recipe, overrides)
    folder = out if out is not None else Path("runs") / plan.name
    page = run_recipe(plan, folder, device=device)
    if as_json:
        results = json.loads((page.parent / "results.json").read_text(encoding="utf-8"))
        click.echo(json.dumps({"report": str(page), **results}))
        return
    from shelfqa.report.terminal import print_comparison

    print_comparison(page.parent)
    click.echo(f"Report: {page}")
