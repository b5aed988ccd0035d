"""The playground's files: served to whoever reaches the port, and asking nothing of anybody else."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from adapterhub_server.access import Access
from adapterhub_server.http.http_service import HttpService
from adapterhub_server.http.playground import FOLDER, TYPES
from adapterhub_server.keys import Keys
from serving import Serving, serving

from adapterhub.base import BaseModel

PAGE = Path(str(files("adapterhub_server.http"))) / FOLDER
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in PAGE.iterdir()}


@pytest.fixture(scope="module")
def server(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """One that asks for keys."""
    folder = tmp_path_factory.mktemp("playground")
    base = BaseModel.load(str(tiny_base), quantization="none")
    with serving(base, folder, access=Access(Keys(folder / "keys.json")), http=True) as running:
        yield running


def got(url: str, path: str, method: str = "GET") -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    connection.request(method, path)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def test_every_file_is_served_without_a_key_under_a_strict_policy(server: Serving) -> None:
    assert {name.rpartition(".")[2] for name in TEXTS} == set(TYPES)
    for name, text in TEXTS.items():
        answer, body = got(server.url, "/" if name == "index.html" else f"/{FOLDER}/{name}")
        assert (answer.status, body.decode()) == (200, text)
        assert answer.headers["content-type"] == TYPES[name.rpartition(".")[2]]
        assert answer.headers["x-content-type-options"] == "nosniff"
        rules = dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; "))
        assert rules["default-src"] == rules["frame-ancestors"] == rules["base-uri"] == "'none'"
        assert {rules[kind] for kind in ("script-src", "style-src", "connect-src", "img-src")} == {"'self'"}
    assert got(server.url, "/v1/models")[0].status == 401


def test_nothing_else_is_served_beside_them(server: Serving) -> None:
    for path in ("/page/", "/page/nothing.js", "/page/../app.py", "/page/%2e%2e/app.py", "/index.html"):
        answer, body = got(server.url, path)
        assert (answer.status, b"no_such_route" in body) == (404, True), path
    assert got(server.url, "/", "POST")[0].status == 405
    assert got(server.url, "/", "HEAD")[1] == b""


def test_it_may_be_left_out(server: Serving) -> None:
    assert server.web is not None
    assert server.web.page == server.url.removesuffix("v1")
    without = HttpService("127.0.0.1", 0, playground=False)
    assert without.page == ""
    server.loop.run(without.start(server.behind))
    for path in ("/", "/page/main.js"):
        assert got(without.url, path)[0].status == 404
    assert got(without.url, "/health")[0].status == 200
    server.loop.run(without.stop(0))


def test_the_files_name_nothing_outside_and_run_nothing_inline() -> None:
    for name, text in TEXTS.items():
        outside = re.findall(r"(?:[a-z]+:)?//[a-z][^\s\"']*", text.replace("http://www.w3.org/2000/svg", ""))
        assert outside == [], name
        assert not re.findall(r"@import|url\(|innerHTML|insertAdjacentHTML|document\.write|eval\(|localStorage", text)
    index = TEXTS["index.html"]
    assert not re.findall(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", index)


def test_every_file_a_file_names_is_there() -> None:
    named = {Path(path).name for path in re.findall(r"(?:href|src)=\"(page/[^\"]+)\"", TEXTS["index.html"])}
    for text in TEXTS.values():
        named |= set(re.findall(r"from \"\./([^\"]+)\"", text))
    assert named == set(TEXTS) - {"index.html"}
    ids = set(re.findall(r"\sid=\"([^\"]+)\"", TEXTS["index.html"]))
    asked = {found for text in TEXTS.values() for found in re.findall(r"byId\(\"([^\"]+)\"\)", text)}
    assert asked <= ids
    assert set(re.findall(r"\sfor=\"([^\"]+)\"", TEXTS["index.html"])) <= ids
