"""From raw text to a promoted chat model, as a user runs it; again, with nothing left to do; and with a new crawl."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from flows.cli import main
from flows.recipe import load_recipe
from storage.artifact import KINDS, Artifact, Store
from storage.steplog import Outcome, StepLog
from tasks.demo.server import serve
from tests.flows.small import SmallMill

pytestmark = [
    pytest.mark.usefixtures("terminal"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
]


@pytest.fixture(autouse=True)
def at_home(small_mill: SmallMill, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRISTMILL_HOME", str(small_mill.home))


def one(mill: SmallMill, step: str, label: str = "") -> Artifact:
    found = Store(mill.home).latest(step, label)
    assert found is not None
    return found


def run_again(mill: SmallMill, flow: str) -> dict[tuple[str, str], Outcome]:
    """Run a flow in this process; the outcome of each of its steps."""
    log = StepLog(Store(mill.home))
    before = len(list(log.read()))
    main(["run", flow, "--recipe", str(mill.recipe)])
    return {(o.step, o.label): o for o in list(log.read())[before:]}


def test_every_kind_of_artifact_is_there_and_whole(small_mill: SmallMill) -> None:
    store = Store(small_mill.home)
    artifacts = list(store.all())
    assert {a.kind for a in artifacts} == set(KINDS)
    for artifact in artifacts:
        artifact.verify()
    assert list((store.home / "building").iterdir()) == []
    assert list((store.home / "scratch").iterdir()) == []


def test_the_run_says_what_it_did_and_where_it_lies(small_mill: SmallMill) -> None:
    report = one(small_mill, "summarize").path / "report.html"
    for told in ("never ran before", "is champion", str(report), str(one(small_mill, "export_model", "chat").path)):
        assert told in small_mill.said
    assert "Traceback" not in small_mill.said
    assert "<svg" in report.read_text()


def test_the_chat_model_answers_in_transformers(small_mill: SmallMill) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = one(small_mill, "export_model", "chat").path
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    asked = [{"role": "user", "content": "What does bisect do?"}]
    ids = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    assert model.generate(**ids, max_new_tokens=4, do_sample=False).shape[1] > ids["input_ids"].shape[1]
    assert model.config.vocab_size == 400


def test_fine_tuning_changed_the_base_model(small_mill: SmallMill) -> None:
    base, chat = (one(small_mill, "export_model", name) for name in ("base", "chat"))
    weights = [next(f.sha256 for f in a.files if f.path.endswith(".safetensors")) for a in (base, chat)]
    assert weights[0] != weights[1]


def test_bits_per_byte_are_finite_and_better_than_no_model(small_mill: SmallMill) -> None:
    for name in ("base", "chat"):
        results = json.loads((one(small_mill, "evaluate_model", name).path / "results.json").read_text())
        scores = [results["held_out"]["overall"], *results["held_out"]["sources"].values()]
        assert len(scores) == 3
        assert all(math.isfinite(s["bits_per_byte"]) and 0 < s["bits_per_byte"] < 9 for s in scores)


def test_mlflow_has_the_runs_and_the_champion(small_mill: SmallMill) -> None:
    from monitoring.tracking import connect

    client = connect(small_mill.home)
    (experiment,) = client.search_experiments(filter_string="name = 'gristmill'")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    for step, label, steps in (("pretrain", "base", 10), ("finetune", "chat", 5)):
        run = runs[one(small_mill, step, label).name]
        assert run.info.status == "FINISHED"
        history = client.get_metric_history(run.info.run_id, "train/loss")
        assert [point.step for point in history] == list(range(1, steps + 1))
    report = runs[one(small_mill, "summarize").name]
    assert math.isfinite(report.data.metrics["chat/held_out/bits_per_byte"])
    champion = client.get_model_version_by_alias("gristmill-chat", "champion")
    assert champion.tags["model_key"] == one(small_mill, "export_model", "chat").key
    assert champion.source == one(small_mill, "export_model", "chat").path.as_uri()


@pytest.mark.usefixtures("prefect_server")
def test_the_second_run_skips_every_step_and_says_why(
    small_mill: SmallMill, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes = run_again(small_mill, "pipeline")
    assert len(outcomes) == 18
    assert {o.name for o in outcomes.values()} == {"Skipped"}
    assert all(o.reason.startswith("same code, configuration and inputs") for o in outcomes.values())
    said = capsys.readouterr().out
    assert f"0 steps ran, {len(outcomes)} were skipped" in said
    assert "stays champion: nothing changed" in said


@pytest.mark.usefixtures("prefect_server")
def test_retraining_on_an_unchanged_site_only_crawls(
    small_mill: SmallMill, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes = run_again(small_mill, "retrain")
    assert [key for key, o in outcomes.items() if o.name != "Skipped"] == [("crawl", "pydoc")]
    assert outcomes["crawl", "pydoc"].reason.startswith("configuration snapshot: first → 20")
    assert "stays champion: nothing changed" in capsys.readouterr().out


def test_a_changed_page_changes_the_documents(tmp_path: Path) -> None:
    from flows.corpus import make_corpus
    from flows.mill import Mill

    site, recipe = tmp_path / "site", tmp_path / "recipe.toml"
    site.mkdir()
    prose = "The mill that stands by the river grinds the grain of the whole valley, and it has done so for ages. "
    for name in ("index", "one", "two"):
        links = '<a href="one.html">one</a> <a href="two.html">two</a>'
        (site / f"{name}.html").write_text(f"<html><body><p>{prose * 6} So says {name}.</p>{links}</body></html>")
    with serve(site, 0) as url:
        recipe.write_text(
            f'[[sources]]\ntype = "site"\nname = "web"\nstart = ["{url}/index.html"]\n'
            "allow_private_addresses = true\ndelay_seconds = 0.0\n"
        )
        mill = Mill(load_recipe(str(recipe)), Store(tmp_path / "mill"))
        first, again = make_corpus(mill, "first"), make_corpus(mill, "second")
        page = site / "two.html"
        page.write_text(page.read_text().replace("ages", "centuries"))
        kept, changed = make_corpus(mill), make_corpus(mill, "third")
    assert first.statistics["documents"] == 3
    assert first == again == kept
    assert changed.digest != first.digest
    assert changed.statistics["documents"] == 3
