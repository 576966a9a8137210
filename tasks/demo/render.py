"""The step ``render_pydoc``: the standard library's documentation as a small web site, with no download."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from storage.errors import GristmillError, require
from tasks.step import Work, step

PYTHON = platform.python_version()
PAGES = Path(__file__).with_name("pydoc_pages.py")
TIME_LIMIT_SECONDS = 300


@dataclass(frozen=True)
class RenderConfig:
    """What the demo site shows.

    Attributes:
        name: the site's name.
        modules: top-level modules of the standard library to document; empty means all.
    """

    name: str = "pydoc"
    modules: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        unknown = sorted(set(self.modules) - sys.stdlib_module_names)
        require(not unknown, "modules", unknown, "top-level modules of the standard library")


@dataclass(frozen=True)
class DemoConfig:
    """The demo site and where it is served.

    Attributes:
        port: TCP port on 127.0.0.1.
        render: what the site shows.
    """

    port: int = 8807
    render: RenderConfig = field(default_factory=RenderConfig)

    def __post_init__(self) -> None:
        require(0 < self.port < 65_536, "port", self.port, "between 1 and 65535")


@step(kind="site", also=("tasks.demo.pydoc_pages:main",))
def render_pydoc(work: Work, config: RenderConfig, python: str = PYTHON) -> dict[str, Any]:
    """Render one HTML page a module, an index, and a robots.txt that forbids ``/private/``.

    The pages are made by a process of their own, with no environment variable and no site-packages, so
    that they show nothing of this machine's user and are the same in each run of one Python.

    Args:
        config: which modules.
        python: the Python version, which shapes the pages and so belongs to the key.
    """
    command = [sys.executable, "-B", "-P", "-s", "-S", str(PAGES), str(work.out), *config.modules]
    with TemporaryDirectory() as home:
        done = subprocess.run(
            command, env={"PYTHONHASHSEED": "0", "TZ": "UTC"}, cwd=home, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=TIME_LIMIT_SECONDS, check=False,
        )  # fmt: skip
    if done.returncode:
        raise GristmillError(
            f"Rendering the documentation of Python {python} failed: {done.stderr.strip()[-500:]}",
            "Check that this Python's standard library is complete (the Debian package `libpython3-stdlib`).",
        )
    size = sum(path.stat().st_size for path in work.out.rglob("*.html"))
    return {**json.loads(done.stdout), "bytes": size}
