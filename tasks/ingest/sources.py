"""The types of source that a recipe may name."""

from __future__ import annotations

from tasks.ingest.hub import HubSource
from tasks.ingest.matching import FilesSource
from tasks.ingest.site import SiteSource

Source = SiteSource | FilesSource | HubSource
