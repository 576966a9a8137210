"""A quiet web server on loopback for a folder of files: equipment of the demo and of tests."""

from __future__ import annotations

import errno
import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from storage.errors import GristmillError

HOST = "127.0.0.1"


@contextmanager
def serve(folder: Path, port: int) -> Iterator[str]:
    """Serve ``folder`` on 127.0.0.1 while the context lasts; yields the base URL, without a final slash.

    Args:
        folder: what to serve.
        port: TCP port; 0 takes a free one.

    Raises:
        GristmillError: the port is in use.
    """
    server = _bind(folder, port)
    thread = threading.Thread(target=server.serve_forever, name="demo-site", daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _bind(folder: Path, port: int) -> ThreadingHTTPServer:
    handler = functools.partial(_Handler, directory=str(folder))
    try:
        return _Server((HOST, port), handler)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise GristmillError(
            f"Port {port} on {HOST} is in use, so the demo site cannot be served.",
            "Change `port` under `[demo]` in the recipe, or stop the other process.",
        ) from error


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: each request would be a line."""
