import bz2
import gzip
import json
import lzma
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from storage.artifact import Store
from storage.documents import Document, read_documents
from storage.errors import GristmillError
from tasks.ingest.files import module_name, read_files
from tasks.ingest.matching import FilesSource, files_fingerprint, matched_files

PACK = {
    "": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress,
    ".zst": lambda data: zstandard.ZstdCompressor().compress(data),
}  # fmt: skip


def read(tmp_path: Path, **changes: Any) -> tuple[dict[str, Document], dict[str, tuple[str, str]]]:
    source = FilesSource(**{"name": "f", "paths": (f"{tmp_path}/in/**/*",), **changes})
    artifact = read_files(Store(tmp_path / "home"), source, files_fingerprint(source))
    dropped = pq.read_table(artifact.path / "dropped-00000.parquet").to_pylist()
    documents = {d.url.rpartition("/")[2]: d for d in read_documents(artifact.path)}
    return documents, {row["url"].rpartition("/")[2]: (row["stage"], row["rule"]) for row in dropped}


def put(tmp_path: Path, name: str, data: bytes) -> Path:
    path = tmp_path / "in" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("compression", PACK)
def test_every_suffix_in_every_compression(tmp_path: Path, compression: str) -> None:
    rows = [{"text": "row é"}, {"other": 1}]
    table = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": ["row é", None]}), table)
    plain = {name: "words é\n".encode() for name in ("a.txt", "a.md", "a.rst", "a.js", "a.RS")}
    files = {
        **plain, "a.html": "<title>T</title><p>words é</p>".encode(),
        "a.jsonl": "\n".join(map(json.dumps, rows)).encode(), "a.parquet": table.getvalue().to_pybytes(),
    }  # fmt: skip
    for name, data in files.items():
        put(tmp_path, name + compression, PACK[compression](data))
    put(tmp_path, "a.exe", b"not read")
    documents, dropped = read(tmp_path)
    assert {name: d.text for name, d in documents.items()} == {
        **{name + compression: "words é\n" for name in plain}, f"a.html{compression}": "words é",
        f"a.jsonl{compression}#0": "row é", f"a.parquet{compression}#0": "row é",
    }  # fmt: skip
    assert dropped == {f"a.{kind}{compression}#1": ("ingest", "no text") for kind in ("jsonl", "parquet")}
    languages = {name.split(".")[1]: (d.language, d.language_score) for name, d in documents.items()}
    assert (languages["js"], languages["RS"], languages["txt"]) == (("javascript", 1.0), ("rust", 1.0), ("und", 0.0))
    assert documents[f"a.html{compression}"].meta == {"title": "T"}


def test_what_cannot_be_read_is_dropped_with_its_rule(tmp_path: Path) -> None:
    put(tmp_path, "bomb.txt.gz", gzip.compress(b"0" * 1_000_000))
    put(tmp_path, "cut.txt.gz", gzip.compress(os.urandom(500))[:300])
    put(tmp_path, "cut.txt.zst", PACK[".zst"](os.urandom(500))[:-20])
    put(tmp_path, "bad.parquet", b"PAR1 no")
    put(tmp_path, "noise.txt", bytes(range(128, 256)) * 4 + b"\0" * 10)
    put(tmp_path, "empty.txt", b" \n")
    put(tmp_path, "big.txt", b"x" * 20_000)
    put(tmp_path, "fine.txt", "naïve".encode("latin-1"))
    documents, dropped = read(tmp_path, max_file_bytes=10_000)
    assert [d.text for d in documents.values()] == ["naïve"]
    assert dropped == {
        "bomb.txt.gz": ("ingest", "too large"), "big.txt": ("ingest", "too large"), "empty.txt": ("ingest", "empty"),
        "cut.txt.gz": ("ingest", "damaged"), "cut.txt.zst": ("ingest", "damaged"), "bad.parquet": ("ingest", "damaged"),
        "noise.txt": ("ingest", "undecodable"),
    }  # fmt: skip


def test_docstrings_as_prose(tmp_path: Path) -> None:
    code = '"""About m."""\nclass A(B):\n    """About A."""\n    def f(self, x: int = 1) -> str:\n        """About f.\n\n        More."""\n    def _hidden(self):\n        """No."""\n'  # noqa: E501
    put(tmp_path, "m.py", code.encode())
    put(tmp_path, "broken.py", b"def (")
    documents, dropped = read(tmp_path, content="docstrings")
    assert documents["m.py"].text == (
        "Module m\n\nAbout m.\n\nclass m.A(B)\n\nAbout A.\n\nm.A.f(self, x: int=1) -> str\n\nAbout f.\n\nMore."
    )
    assert dropped == {"broken.py": ("ingest", "unparsable")}


def test_the_standard_library_has_the_same_urls_everywhere() -> None:
    found = matched_files(FilesSource("s", ("{stdlib}/json/*.py", "{stdlib}/textwrap.py"), exclude=("json/tool.py",)))
    assert [f.url for f in found][::len(found) - 1] == ["stdlib:json/__init__.py", "stdlib:textwrap.py"]
    assert "stdlib:json/tool.py" not in {f.url for f in found}
    assert [module_name(f.url) for f in found][::len(found) - 1] == ["json", "textwrap"]


def test_a_changed_file_changes_the_fingerprint(tmp_path: Path) -> None:
    path, source = put(tmp_path, "a.txt", b"one"), FilesSource("f", (f"{tmp_path}/in/*",))
    before = files_fingerprint(source)
    assert files_fingerprint(source) == before
    path.write_bytes(b"two")
    os.utime(path, ns=(0, 0))
    assert files_fingerprint(source) != before


def test_limit_and_no_match(tmp_path: Path) -> None:
    for i in range(5):
        put(tmp_path, f"{i}.txt", b"x%d" % i)
    assert list(read(tmp_path, max_documents=2)[0]) == ["0.txt", "1.txt"]
    with pytest.raises(GristmillError, match="No file matches"):
        matched_files(FilesSource("f", (f"{tmp_path}/in/*.md",)))
