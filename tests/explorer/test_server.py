"""The server gives out the page and answers, and nothing else; nobody else's page can ask it."""

import socket
import urllib.request

import pytest
from werkzeug.test import Client

from cjepa.cli import main
from cjepa.errors import UserError
from cjepa.explorer.server import App, listen
from tests.explorer.serving import serving


@pytest.fixture(scope="module")
def client(explorer) -> Client:
    return Client(App(explorer))


def test_the_page_and_its_parts(client):
    for path, kind, part in (
        ("/", "text/html", '<script src="table.js" defer></script>'),
        ("/shared.js", "text/javascript", "fetch("),
        ("/page.css", "text/css", "canvas"),
    ):
        response = client.get(path)
        assert response.status_code == 200 and response.mimetype == kind and part in response.text
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert "http://" not in response.text and "https://" not in response.text


def test_answers_are_json(client, explorer):
    response = client.get("/answer?scene=1&way=freeze")
    assert response.status_code == 200 and response.json["settings"]["way"] == "freeze"
    assert response.json["tracks"] == explorer.answer({"scene": "1", "way": "freeze"})["tracks"]


def test_settings_that_make_no_sense_are_a_bad_request(client):
    response = client.get("/answer?scene=99")
    assert response.status_code == 400 and response.json["error"] == "scene 99: expected 0..8"
    assert response.json["about"]["scenes"] == 9
    assert client.get("/answer?scene=1&scene=2").status_code == 200  # the first counts


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "/../page.py",
        "/table.html",
        "/layout.html.j2",
        "/table.py",
        "//etc/passwd",
        "/%2e%2e/server.py",
        "/table.js/..",
    ],
)
def test_nothing_else_is_served(client, path):
    response = client.get(path)
    assert response.status_code == 404 and response.text == "404 Not Found\n"


def test_it_only_answers(client):
    assert client.post("/answer").status_code == 405
    assert client.delete("/").status_code == 405
    assert client.head("/").status_code == 200


def test_pages_of_other_names_are_refused(client, explorer):
    """A web page could give its own name the address 127.0.0.1, and then read what we answer."""
    assert client.get("/answer", headers={"Host": "evil.example"}).status_code == 400
    assert client.get("/", headers={"Host": "localhost:8642"}).status_code == 200
    for host, named in (("::1", "[::1]:8642"), ("MyHost", "myhost:8642")):
        own = Client(App(explorer, host))
        assert own.get("/", headers={"Host": named}).status_code == 200
        assert own.get("/", headers={"Host": "evil.example"}).status_code == 400
    everywhere = Client(App(explorer, "0.0.0.0"))
    assert everywhere.get("/", headers={"Host": "my-workstation:8642"}).status_code == 200


def test_over_a_socket(explorer):
    with serving(explorer) as address, urllib.request.urlopen(f"{address}page.css", timeout=60) as response:
        assert b"canvas" in response.read()


def test_a_port_in_use_is_refused_in_one_line_before_a_model_is_loaded(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {port}: .*in use.*; give another --port"):
            listen("127.0.0.1", port)
        assert main(["explore", "no-run", "--episodes", "none.h5", "--port", str(port)]) == 2
        assert f"--port {port}: " in capsys.readouterr().err
    with pytest.raises(UserError, match="--port 99999: .*[^.]; give another --port"):
        listen("127.0.0.1", 99999)
