"""``corpus``: crawl and read the sources, extract, filter, deduplicate."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from prefect import flow

from flows.mill import Mill, open_mill
from storage.artifact import Artifact
from tasks.curate.dedup import deduplicate
from tasks.curate.filter import filter_documents
from tasks.demo.render import render_pydoc
from tasks.demo.server import serve
from tasks.ingest.crawl import crawl
from tasks.ingest.extract import ExtractConfig, extract
from tasks.ingest.files import read_files
from tasks.ingest.hub import HubSource, read_hub
from tasks.ingest.matching import FilesSource, files_fingerprint
from tasks.ingest.site import SiteSource
from tasks.ingest.sources import Source

FIRST_SNAPSHOT = "first"


@flow(name="corpus")
def corpus(recipe: str = "tiny", snapshot: str = "") -> str:
    """Make the corpus of ``recipe``; a new ``snapshot`` label crawls its sites anew."""
    return make_corpus(open_mill(recipe), snapshot).name


def make_corpus(mill: Mill, snapshot: str = "") -> Artifact:
    """Documents of every source, filtered, and without duplicates."""
    recipe = mill.recipe
    gathered = [(source, gather(mill, source, snapshot)) for source in recipe.sources]
    filtered = tuple(
        filter_documents(mill.store, replace(recipe.filter, name=source.name), documents)
        for source, documents in gathered
    )
    return deduplicate(mill.store, recipe.deduplicate, filtered)


def gather(mill: Mill, source: Source, snapshot: str) -> Artifact:
    """The documents of one source."""
    if isinstance(source, FilesSource):
        return read_files(mill.store, source, files_fingerprint(source))
    if isinstance(source, HubSource):
        return read_hub(mill.store, source)
    pages = crawl_site(mill, source, snapshot or newest_snapshot(mill, source))
    return extract(mill.store, ExtractConfig(name=source.name), pages)


def crawl_site(mill: Mill, source: SiteSource, snapshot: str) -> Artifact:
    """The pages of a site, with the demo site up meanwhile if there is something left to crawl."""
    if crawl.find(mill.store, source, snapshot):
        return crawl(mill.store, source, snapshot)
    with demo_site(mill):
        return crawl(mill.store, source, snapshot)


def demo_site(mill: Mill) -> AbstractContextManager[str]:
    """The recipe's demo site, rendered and served on loopback; nothing if it has none."""
    demo = mill.recipe.demo
    return serve(render_pydoc(mill.store, demo.render).path, demo.port) if demo else nullcontext("")


def newest_snapshot(mill: Mill, source: SiteSource) -> str:
    """The label of the newest crawl of ``source``, so that only a new label crawls again."""
    pages = mill.store.latest("crawl", source.name)
    return str(pages.identity.configuration["snapshot"]) if pages else FIRST_SNAPSHOT
