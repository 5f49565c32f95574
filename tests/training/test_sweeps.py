from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from shelfqa.errors import ConfigError, InputError, UserError
from shelfqa.training import search as search_module
from shelfqa.training.search import Tried, propose, require_optuna
from shelfqa.training.settings import TrainConfig, resolve
from shelfqa.training.sweeps import Point, Search, read_sweep, sweep_names


def write(folder: Path, **content: Any) -> str:
    file = folder / "own.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return str(file)


@pytest.mark.parametrize("name", sweep_names())
def test_every_sweep_that_comes_along_is_whole(name: str) -> None:
    sweep = read_sweep(name)
    found = [resolve(sweep.config(point.values), None) for point in sweep.points]
    for settings, point in zip(found, sweep.points, strict=True):
        assert {field: getattr(settings, field) for field in point.values} == point.values
    assert len({point.name for point in sweep.points}) == len(found) > 1


def test_the_ablation_of_modules_has_seven_rows() -> None:
    groups = ("vision", "connector", "language")
    combinations = [some for size in (1, 2, 3) for some in itertools.combinations(groups, size)]
    sweep = read_sweep("modules", {"model": "blip-vqa-base"})
    assert [point.name for point in sweep.points] == ["+".join(some) for some in combinations]
    assert [sweep.config(point.values).targets for point in sweep.points] == [list(some) for some in combinations]


def test_the_table_of_blip_is_three_ranks_over_four_target_sets() -> None:
    sweep = read_sweep("blip-lora-table")
    names = {(point.values["rank"], point.labels["targets"]) for point in sweep.points}
    sets = ("query-value-out", "query-value-dense", "query-key-value", "query-value")
    assert names == set(itertools.product((8, 16, 32), sets))
    assert sweep.points[-1].values["targets"] == ["query", "value"]
    assert {sweep.config(point.values).model for point in sweep.points} == {"blip-vqa-base"}


def test_a_grid_is_every_combination_in_order(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        settings={"epochs": 2, "learning_rate": "2e-4"},
        grid={"rank": [4, 8], "targets": {"few": ["query"], "more": ["query", "value"]}},
    )
    sweep = read_sweep(file, {"epochs": 3, "model": "blip-vqa-base"})
    names = ["rank=4,targets=few", "rank=4,targets=more", "rank=8,targets=few", "rank=8,targets=more"]
    assert [point.name for point in sweep.points] == names
    assert sweep.config(sweep.points[3].values) == TrainConfig(
        model="blip-vqa-base", epochs=3, learning_rate=2e-4, rank=8, targets=["query", "value"]
    )


def test_numbers_without_a_point_are_numbers(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("grid: {learning_rate: [1e-4, 3.0e-5], max_steps: [null, 10]}\n")
    sweep = read_sweep(str(tmp_path / "own.yaml"))
    assert [point.values for point in sweep.points[:2]] == [
        {"learning_rate": 1e-4, "max_steps": None},
        {"learning_rate": 1e-4, "max_steps": 10},
    ]
    assert sweep.points[2].name == "learning_rate=3e-05,max_steps=none"


def test_trials_may_be_listed(tmp_path: Path) -> None:
    sweep = read_sweep(write(tmp_path, trials=[{"name": "plain"}, {"name": "wide", "rank": 64, "alpha": 64}]))
    assert [point.name for point in sweep.points] == ["plain", "wide"]
    assert sweep.config(sweep.points[0].values) == TrainConfig()
    assert sweep.fields == ["rank", "alpha"]


def test_long_names_are_cut_and_stay_apart(tmp_path: Path) -> None:
    long = [[f"module_with_a_long_name_{number}" for number in range(size)] for size in (9, 10)]
    names = [point.name for point in read_sweep(write(tmp_path, grid={"targets": long})).points]
    assert len(set(names)) == 2
    assert max(map(len, names)) <= 120


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"grid": {"ranks": [1]}}, "unknown setting 'ranks'. Did you mean 'rank'"),
        ({"trials": [{"name": "a", "rnk": 1}]}, "unknown setting 'rnk'. Did you mean 'rank'"),
        ({"optuna": {"n_trials": 1, "fields": {"epoch": {"low": 1, "high": 2}}}}, "Did you mean 'epochs'"),
        ({"settings": {"ranks": 1}, "trials": [{"name": "a"}]}, "Did you mean 'rank'"),
        ({"grd": {"rank": [1]}}, "Did you mean 'grid'"),
        ({"grid": {"rank": ["eight"]}}, "rank: expected `int | null`, got `str`"),
        ({"grid": {"rank": 8}}, "rank is 8: expected a list of values"),
        ({"grid": {"rank": []}}, "rank has no values"),
        ({"grid": {"rank": [8, 8]}}, "two values that read '8'"),
        ({"grid": {"learning_rate": [1e-4, "1e-4"]}}, "two values that read"),
        ({"grid": {"targets": ["query", "value"]}}, r"'query' is no list: .* such as \[\[query\]\]"),
        ({"grid": {"targets": {"a/b": ["query"]}}}, "'a/b' makes no folder"),
        ({"grid": {"rank": list(range(1, 200)), "seed": list(range(20))}}, "3,980 trials; at most 1,000"),
        ({"grid": {}}, "names no trials"),
        ({"trials": [{"rank": 8}]}, "trial 1 has no name"),
        ({"trials": [{"name": ".."}]}, "makes no folder"),
        ({"trials": [{"name": "a"}, {"name": "a"}]}, "two trials have the name 'a'"),
        ({"trials": [{"name": "a"}], "grid": {"rank": [1]}}, "got grid and trials"),
        ({}, "expected one of grid, trials and optuna, got none"),
        ({"optuna": {"n_trials": 0, "fields": {"rank": {"choices": [1]}}}}, "n_trials is 0"),
        ({"optuna": {"n_trials": 1, "fields": {}}}, "nothing to search over"),
        (
            {"optuna": {"n_trials": 1, "fields": {"rank": {"low": 8, "high": 4}}}},
            "from 8 to 4: expected low below high",
        ),
        ({"optuna": {"n_trials": 1, "fields": {"dropout": {"low": 0, "high": 0.1, "log": True}}}}, "above 0 for log"),
        ({"optuna": {"n_trials": 1, "fields": {"rank": {"low": 1, "hgh": 4}}}}, "Did you mean 'high'"),
        ({"optuna": {"n_trials": 1, "fields": {"rank": {"low": 1}}}}, "high is None: expected a number"),
        ({"optuna": {"n_trials": 1, "fields": {"targets": {"low": 1, "high": 2}}}}, "no number: give .* choices"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_sweep(write(tmp_path, **content))
    assert "\n" not in str(caught.value)


def test_a_sweep_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Unknown sweep 'module'. Did you mean 'modules'\? A sweep of your own"):
        read_sweep("module")
    with pytest.raises(InputError, match="No file"):
        read_sweep(str(tmp_path / "none.yaml"))


def test_what_varies_cannot_be_given_for_all() -> None:
    with pytest.raises(ConfigError, match="--rank is given, and sweep 'blip-lora-table' sets 'rank' for each trial"):
        read_sweep("blip-lora-table", {"rank": 4})


def test_reading_a_sweep_loads_neither_torch_nor_optuna() -> None:
    code = "import sys, shelfqa.training.search, shelfqa.cli.sweep_view; print({'torch', 'optuna'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_search_needs_optuna(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'shelfqa\[sweeps\]'"):
        require_optuna()


class TestSearch:
    @pytest.fixture(autouse=True)
    def _optuna(self) -> None:
        pytest.importorskip("optuna")

    @pytest.fixture
    def search(self, tmp_path: Path) -> Search:
        fields = {
            "learning_rate": {"low": "1e-5", "high": "1e-3", "log": True},
            "rank": {"low": 2, "high": 64, "log": True},
            "targets": {"choices": {"few": ["query"], "more": ["query", "value"]}},
        }
        found = read_sweep(write(tmp_path, optuna={"n_trials": 30, "n_startup_trials": 4, "fields": fields})).search
        assert found is not None
        return found

    def run(self, search: Search, tried: list[Tried], number: int) -> list[Tried]:
        for _ in range(number):
            point = propose(search, tried)
            assert point is not None
            tried.append(Tried(point, None if point.values["rank"] < 3 else 1 - abs(point.values["rank"] - 40) / 100))
        return tried

    def test_proposals_lie_in_the_space_and_are_named_after_their_values(self, search: Search) -> None:
        tried = self.run(search, [], 12)
        for point, _ in tried:
            rate, rank = point.values["learning_rate"], point.values["rank"]
            assert 1e-5 <= rate <= 1e-3
            assert isinstance(rank, int)
            assert 2 <= rank <= 64
            assert point.values["targets"] in (["query"], ["query", "value"])
            assert point.name == f"learning_rate={rate},rank={rank},targets={point.labels['targets']}"
            assert len(f"{rate:.15g}".lstrip("0.").split("e")[0].replace(".", "")) <= 3
        assert len({point.name for point, _ in tried}) == 12

    def test_a_proposal_depends_on_what_came_before_alone(self, search: Search) -> None:
        whole = self.run(search, [], 10)
        assert self.run(search, whole[:6], 4) == whole

    def test_the_seed_decides(self, search: Search) -> None:
        other = Search(space=search.space, n_trials=9, n_startup_trials=4, seed=1)
        assert propose(search, []) != propose(other, [])

    def test_it_learns_what_is_good(self, search: Search) -> None:
        ranks = [point.values["rank"] for point, _ in self.run(search, [], 16)]
        assert sum(rank > 20 for rank in ranks[8:]) > sum(rank > 20 for rank in ranks[:8])

    def test_a_small_space_comes_to_an_end(self, tmp_path: Path) -> None:
        fields = {"rank": {"choices": [4, 8]}}
        search = read_sweep(write(tmp_path, optuna={"n_trials": 9, "fields": fields})).search
        assert search is not None
        tried: list[Tried] = []
        while (point := propose(search, tried)) is not None:
            tried.append(Tried(point, None))
        assert sorted(point.values["rank"] for point, _ in tried) == [4, 8]

    def test_a_failed_trial_is_not_proposed_again(self, tmp_path: Path) -> None:
        search = read_sweep(write(tmp_path, optuna={"n_trials": 9, "fields": {"rank": {"choices": [4, 8]}}})).search
        assert search is not None
        failed = Point(name="rank=4", values={"rank": 4}, labels={"rank": "4"})
        found = propose(search, [Tried(failed, None)])
        assert found is not None
        assert found.name == "rank=8"
