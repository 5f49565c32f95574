"""Reading predictions of any tool."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shelfqa.errors import InputError
from shelfqa.metrics.predictions import MISSING_PREDICTION, read_predictions
from shelfqa.records import PREDICTION_COLUMNS


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_keeps_texts_as_they_are(tmp_path: Path) -> None:
    file = write(
        tmp_path / "m.csv", 'path,question,answer,prediction\na.jpg,How many?,2,02\nb.jpg,"Is it, so?",True,None\n'
    )
    table = read_predictions(file).table
    assert table["prediction"].to_pylist() == ["02", "None"]
    assert table["answer"].to_pylist() == ["2", "True"]
    assert table["image_paths"].to_pylist() == [["a.jpg"], ["b.jpg"]]
    assert table["model"].to_pylist() == ["m", "m"]
    assert table["question_id"].to_pylist() == ["0", "1"]
    assert table.column_names[: len(PREDICTION_COLUMNS)] == PREDICTION_COLUMNS.names


def test_empty_prediction_is_a_failure_and_missing_answer_a_drop(tmp_path: Path) -> None:
    file = write(tmp_path / "m.csv", "question,answer,prediction\nq,red,\nq,,red\nq,red,red\n")
    found = read_predictions(file)
    assert found.table["prediction"].to_pylist() == [None, "red"]
    assert found.table["error"].to_pylist() == [MISSING_PREDICTION, None]
    assert found.dropped == {"no-answer": 1}


def test_broken_lines_are_counted(tmp_path: Path) -> None:
    file = write(tmp_path / "m.csv", "question,answer,prediction\nq,red,red\nq,red\nq,red,blue\n")
    found = read_predictions(file)
    assert len(found.table) == 2
    assert sum(found.dropped.values()) == 1
    assert found.bad[0].line == 3


def test_jsonl_with_alternatives(tmp_path: Path) -> None:
    line = (
        '{"question": "q", "answer": "red", "prediction": "blue", '
        '"alternatives": [{"answer": "blue", "probability": 0.7}]}'
    )
    table = read_predictions(write(tmp_path / "m.jsonl", line + "\n\n")).table
    assert table["alternatives"].to_pylist() == [[{"answer": "blue", "probability": 0.7}]]


def test_jsonl_of_other_types(tmp_path: Path) -> None:
    lines = (
        '{"question": "q", "answer": 2, "prediction": 2, "image": "a.jpg"}\n'
        '{"question": "q", "answer": "x", "prediction": null}\n'
    )
    table = read_predictions(write(tmp_path / "m.jsonl", lines)).table
    assert table["answer"].to_pylist() == ["2", "x"]
    assert table["prediction"].to_pylist() == ["2", None]
    assert table["image_paths"].to_pylist() == [["a.jpg"], None]


def test_parquet_of_pandas(tmp_path: Path) -> None:
    table = pa.table(
        {"question": ["q"], "answer": [3], "prediction": ["three"], "source": ["gemini"], "difficulty": ["2"]}
    )
    pq.write_table(table, tmp_path / "m.parquet")
    found = read_predictions(tmp_path / "m.parquet").table
    assert found["answer"].to_pylist() == ["3"]
    assert found["difficulty"].to_pylist() == [2]
    assert found["source"].to_pylist()[0]["model"] == "gemini"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.csv", "question,answer\nq,red\n", r"m\.csv' lacks the column 'prediction'; it has question, answer"),
        ("m.csv", "", r"m\.csv"),
        ("m.csv", "question,answer,prediction\n", "no row that can be scored"),
        ("m.txt", "red", r"expected \.csv"),
        ("m.parquet", "red", "no readable Parquet"),
    ],
)
def test_one_line_errors(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_predictions(write(tmp_path / name, text))
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_predictions(tmp_path / "none.csv")
    with pytest.raises(InputError, match="holds no predictions"):
        read_predictions(tmp_path)
