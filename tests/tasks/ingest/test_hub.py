import json
from pathlib import Path
from typing import Any

import pytest

from storage.artifact import Store
from storage.documents import read_documents
from storage.errors import GristmillError
from tasks.ingest.hub import HubSource, read_hub


@pytest.fixture
def local(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "rows.jsonl"
    rows = [{"body": text, "link": f"http://h/{i}"} for i, text in enumerate(["a", "", "c"])]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"name": "h", "dataset": "json", "data_files": (str(path),), "text_field": "body"}


@pytest.mark.parametrize("streaming", [True, False])
def test_local_files(tmp_path: Path, local: dict[str, Any], streaming: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    source = HubSource(**local, streaming=streaming, url_field="link")
    artifact = read_hub(Store(tmp_path / "home"), source)
    documents = list(read_documents(artifact.path))
    assert [(d.url, d.text, d.fetched_at) for d in documents] == [("http://h/0", "a", None), ("http://h/2", "c", None)]
    assert artifact.statistics["dropped"] == {"empty": 1}


def test_limit_and_row_urls(tmp_path: Path, local: dict[str, Any]) -> None:
    artifact = read_hub(Store(tmp_path / "home"), HubSource(**local, max_documents=1))
    assert [d.url for d in read_documents(artifact.path)] == ["hf://datasets/json/train#0"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_field": "nope"}, "has no column 'nope'; it has body, link"),
        ({"data_files": ("/no/such.jsonl",)}, "could not be loaded"),
    ],
)
def test_what_cannot_be_had(tmp_path: Path, local: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(GristmillError, match=message):
        read_hub(Store(tmp_path / "home"), HubSource(**{**local, **changes}))
