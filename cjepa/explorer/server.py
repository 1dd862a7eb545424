"""The server of the page: it gives out the files of the page and answers, and reads nothing else.

Werkzeug comes with TensorBoard, so that the page needs nothing that is not installed already.
"""

import json
import logging
import socket
import threading
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import jinja2
from werkzeug.exceptions import BadRequest, HTTPException, MethodNotAllowed, NotFound
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from cjepa.errors import UserError

_FILES = {"page.css": "text/css", "shared.js": "text/javascript"}
"""Of every page, which has a template and a script of its own beside them."""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_EVERYWHERE = ("0.0.0.0", "::", "")

_log = logging.getLogger(__name__)


class Explorer(Protocol):
    """What is asked by the page."""

    page: str
    """Name of its template and its script."""

    def about(self) -> dict[str, Any]:
        """What is the same in every answer."""

    def answer(self, query: Mapping[str, str]) -> dict[str, Any]:
        """The answer to the settings of a query; a UserError says what is wrong with them."""


def _html(page: str) -> str:
    """A page: its template fills in the layout of all pages."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    return jinja2.Environment(loader=loader, autoescape=True).get_template(f"{page}.html.j2").render(page=page)


class App:
    """The page as a WSGI application.

    Args:
        explorer: that answers, one question at a time.
        host: that the server binds to. Requests to any other host are refused, so that no web page in the same browser
            can ask by a name of its own; where the server is open to the network, any name is accepted.
    """

    def __init__(self, explorer: Explorer, host: str = "127.0.0.1"):
        self.explorer = explorer
        self.hosts = None if host in _EVERYWHERE else {host.lower(), "127.0.0.1", "localhost", "::1"}
        self._lock = threading.Lock()
        folder = files("cjepa.explorer")
        names = _FILES | {f"{explorer.page}.js": "text/javascript"}
        self._page = {f"/{name}": (folder.joinpath(name).read_bytes(), kind) for name, kind in names.items()}
        self._page["/"] = (_html(explorer.page).encode(), "text/html")

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """See WSGI."""
        request = Request(environ)
        try:
            response = self._response(request)
        except HTTPException as error:
            response = Response(f"{error.code} {error.name}\n", error.code, mimetype="text/plain")
        response.headers.extend(_HEADERS)
        return response(environ, start_response)

    def _response(self, request: Request) -> Response:
        if self.hosts is not None and urlsplit(f"//{request.host}").hostname not in self.hosts:
            raise BadRequest
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed(["GET", "HEAD"])
        if request.path == "/answer":
            return self._answer(request)
        if request.path not in self._page:
            raise NotFound
        content, kind = self._page[request.path]
        return Response(content, mimetype=kind)

    def _answer(self, request: Request) -> Response:
        with self._lock:
            try:
                answer, status = self.explorer.answer(request.args.to_dict()), 200
            except UserError as error:
                answer, status = {"error": str(error), "about": self.explorer.about()}, 400
        return Response(json.dumps(answer, allow_nan=False), status, mimetype="application/json")


class _Quiet(WSGIRequestHandler):
    """Logs faults, not requests."""

    def log(self, type: str, message: str, *args: Any) -> None:
        """See Werkzeug."""
        if type == "error":
            _log.error(message.rstrip(), *args)


def listen(host: str, port: int) -> socket.socket:
    """A socket at which a browser may already ask; the answers wait for :func:`open_server`.

    Args:
        host: name or address to listen at.
        port: to listen at; 0 for any that is free.

    Raises:
        UserError: nothing can listen there.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--host {host} --port {port}: {str(reason).rstrip('.')}; give another --port") from None


def open_server(app: App, host: str, listening: socket.socket) -> BaseWSGIServer:
    """A server that answers once its ``serve_forever`` is called.

    Args:
        app: that answers.
        host: that the socket is bound to.
        listening: from :func:`listen`.
    """
    return make_server(host, listening.getsockname()[1], app, True, request_handler=_Quiet, fd=listening.fileno())


def address_of(server: BaseWSGIServer) -> str:
    """What to type into a browser."""
    host = f"[{server.host}]" if ":" in server.host else server.host
    return f"http://{host}:{server.port}/"


def serve(server: BaseWSGIServer) -> None:
    """Answer until interrupted."""
    server.serve_forever()
