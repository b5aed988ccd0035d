"""Routers: plugins that pick an adapter by the prompt, among what the caller may use, where a request names none."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from adapterhub_server.access import Access
from adapterhub_server.keys import Keys
from adapterhub_similarity import Similarity
from serving import Serving, serving
from test_cli import run

from adapterhub import Candidate, Pick, PickPrompt, PromptRouter, sign_prompts
from adapterhub.adapter import BaseRecord
from adapterhub.base import BaseModel
from adapterhub.client import Client, Prompt, RouteChoice, RouteTarget, Turn
from adapterhub.client import Route as ClientRoute
from adapterhub.errors import ConfigError, RouterError
from adapterhub.plugins import ROUTERS_GROUP, VARIABLE, Methods, PluginStatus, installed_methods, load_routers

PAGE = Path(__file__).parent.parent / "docs" / "plugins.md"
PARCELS = sign_prompts(f"Where is my parcel number {number}?" for number in range(20))
RECIPES = sign_prompts(
    f"Give me a recipe with {food} for dinner." for food in ("rice", "leek", "eggs", "tofu", "beans")
)


class Addressed(PromptRouter):
    """Picks the name in front of the colon, whether it is a candidate's or not."""

    name = "addressed"

    def __init__(self) -> None:
        self.fitted: list[list[str]] = []

    def fit(self, candidates: Sequence[Candidate]) -> PickPrompt:
        self.fitted.append([candidate.name for candidate in candidates])
        return lambda prompt: Pick(prompt.partition(":")[0], 1.0) if ":" in prompt else None


class Broken(PromptRouter):
    """Does what the prompt says, and what no router should."""

    name = "broken"

    def fit(self, candidates: Sequence[Candidate]) -> PickPrompt:
        def pick(prompt: str) -> Pick | None:
            if prompt == "exit":
                sys.exit(1)
            if prompt == "not a pick":
                return "parcels"  # type: ignore[return-value]
            if prompt == "no candidate":
                return Pick("secret", 1.0)
            raise RuntimeError("inner text")

        return pick


class Unfit(PromptRouter):
    name = "unfit"

    def fit(self, candidates: Sequence[Candidate]) -> PickPrompt:
        raise RuntimeError("inner text")


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> BaseModel:
    """For one server after the other, beside `server`."""
    return BaseModel.load(str(tiny_base), quantization="none")


@pytest.fixture(scope="module")
def server(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    base = BaseModel.load(str(tiny_base), quantization="none")
    with serving(base, tmp_path_factory.mktemp("serving"), router=Similarity()) as running:
        running.publish("parcels", prompt_signature=PARCELS)
        running.publish("recipes", "bottleneck", prompt_signature=RECIPES)
        yield running


def route(server: Serving, prompt: Prompt, *, adapter: str = "", task: str = "") -> RouteChoice:
    return server.client.generate(prompt, adapter=adapter, task=task, max_new_tokens=1).route


def test_a_prompt_finds_its_adapter_and_the_answer_says_so(server: Serving) -> None:
    answer = server.client.generate("Where is my parcel?", max_new_tokens=1)
    assert answer.route == ("router", "similarity", "parcels")
    assert (answer.adapter, answer.adapter_digest) == ("parcels", server.store.pin("parcels").digest)
    assert route(server, "Give me a recipe with plums for dinner.") == ("router", "similarity", "recipes")
    assert route(server, "Who painted the Mona Lisa?") == ("router", "similarity", "")


def test_of_a_chat_the_last_turn_decides(server: Serving) -> None:
    turns = [Turn("user", "Give me a recipe with rice for dinner."), Turn("assistant", "No.")]
    assert route(server, [*turns, Turn("user", "Where is my parcel?")]).adapter == "parcels"


def test_a_request_that_names_something_or_brings_token_ids_is_not_routed(server: Serving) -> None:
    server.client.set_route(ClientRoute("plain", (RouteTarget(""),)))
    assert route(server, "Where is my parcel?", adapter="recipes") == ("adapter", "", "recipes")
    assert route(server, "Where is my parcel?", task="plain") == ("task", "plain", "")
    ids = server.client.tokenize("Where is my parcel?")
    assert route(server, ids) == ("base", "", "")


def test_what_is_published_moved_and_removed_is_seen(base: BaseModel, tmp_path: Path) -> None:
    with serving(base, tmp_path, router=Similarity()) as server:
        assert route(server, "Where is my parcel?") == ("router", "similarity", "")
        server.publish("posts", prompt_signature=PARCELS)
        server.wait_until(lambda: route(server, "Where is my parcel?").adapter == "posts")
        server.publish("posts", prompt_signature=RECIPES)
        server.wait_until(lambda: not route(server, "Where is my parcel?").adapter)
        assert route(server, "Give me a recipe with plums for dinner.").adapter == "posts"
        server.store.remove("posts")
        assert not route(server, "Give me a recipe with plums for dinner.").adapter  # seen or not yet
        server.wait_until(lambda: route(server, "Give me a recipe with plums for dinner.").by == "router")


def test_an_adapter_that_was_unloaded_leaves_its_prompts_to_the_base(base: BaseModel, tmp_path: Path) -> None:
    with serving(base, tmp_path, router=Similarity()) as server:
        server.publish("posts", prompt_signature=PARCELS)
        assert route(server, "Where is my parcel?").adapter == "posts"
        server.client.unload("posts")
        assert route(server, "Where is my parcel?") == ("fallback", "similarity", "")


def test_only_what_the_key_allows_is_picked(base: BaseModel, tmp_path: Path) -> None:
    keys, router = Keys(tmp_path / "keys.json"), Addressed()
    clients = {name: keys.create(name, tenant=name, scopes=["infer"], adapters=[f"{name}/*"]) for name in ("a", "b")}
    with serving(base, tmp_path, access=Access(keys), router=router) as server:
        server.publish("a/one", created="today")
        server.publish("b/two", created="today")
        for name, key in clients.items():
            with Client(server.address, api_key=key) as client:
                own = {"a": "a/one", "b": "b/two"}[name]
                assert client.generate(f"{own}: x", max_new_tokens=1).adapter == own
                with pytest.raises(RouterError):
                    client.generate("a/one: x" if name == "b" else "b/two: x", max_new_tokens=1)
    assert router.fitted == [["a/one"], ["b/two"]]


def test_candidates_are_served_trained_on_the_served_base_and_can_be_read(
    base: BaseModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other, router = BaseRecord(id="other", digest=f"sha256:{'0' * 64}"), Addressed()
    methods = Methods({"lora": installed_methods().get("lora")}, plugins=())
    with serving(base, tmp_path, router=router, methods=methods) as server:
        for name in ("fits", "tagged:v1", "damaged"):
            server.publish(name, created="today")
        server.publish("unverified")
        server.publish("of-another-base", base=other)
        server.publish("not-served", "bottleneck", created="today")
        (server.store.root / "refs" / "_" / "damaged" / "latest").write_text("no digest")
        assert route(server, "fits: x").adapter == "fits"
    assert router.fitted == [["fits"]]
    assert "router addressed does not pick damaged" in caplog.text


def test_the_store_is_looked_at_once_in_a_while_and_fitted_to_when_it_changed(base: BaseModel, tmp_path: Path) -> None:
    router = Addressed()
    with serving(base, tmp_path, router=router) as server:
        server.publish("one", created="today")
        for _ in range(5):
            route(server, "one: x")
        server.store.tag("one", "two")
        server.wait_until(lambda: route(server, "hello").by == "router" and len(router.fitted) > 1)
    assert router.fitted == [["one"], ["one", "two"]]


@pytest.mark.parametrize("prompt", ["raise", "exit", "not a pick", "no candidate"])
def test_a_router_that_fails_fails_its_request_alone_and_the_log_has_the_cause(
    base: BaseModel, tmp_path: Path, prompt: str, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(base, tmp_path, router=Broken()) as server:
        server.publish("parcels", created="today")
        with pytest.raises(RouterError, match=r"^router 'broken' failed$"):
            route(server, prompt)
        assert route(server, prompt, adapter="parcels") == ("adapter", "", "parcels")
    cause = {"raise": "RuntimeError: inner text", "exit": "SystemExit: 1"}.get(prompt, "none of the 1 candidates")
    assert cause in caplog.text


def test_a_router_that_cannot_be_fitted_fails_what_it_is_asked_for(base: BaseModel, tmp_path: Path) -> None:
    with serving(base, tmp_path, router=Unfit()) as server:
        assert route(server, "hello") == ("router", "unfit", "")  # there are no candidates
        server.publish("parcels", created="today")
        with pytest.raises(RouterError, match="router 'unfit' failed"):
            for _ in iter(lambda: route(server, "hello").by, "never"):
                pass
        assert route(server, "hello", adapter="parcels").adapter == "parcels"


Plugin = Callable[[str, str], EntryPoint]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugin]:
    """Makes an entry point of a module with the given source."""
    monkeypatch.syspath_prepend(tmp_path)
    made = []

    def make(name: str, source: str) -> EntryPoint:
        module = f"router_under_test_{name}"
        (tmp_path / f"{module}.py").write_text(source)
        made.append(module)
        return EntryPoint(name, module, ROUTERS_GROUP)

    yield make
    for module in made:
        sys.modules.pop(module, None)


def documented() -> str:
    (example,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    return str(example)


def test_the_documented_router_works_as_it_is(plugin: Plugin, base: BaseModel, tmp_path: Path) -> None:
    routers = load_routers([plugin("addressed", documented())])
    assert routers.plugins == (PluginStatus("addressed", "", "", ("register_routers",), routers=("addressed",)),)
    with serving(base, tmp_path, router=routers.get("addressed")) as server:
        server.publish("orders", created="today")
        assert route(server, "orders: 3 lamps to Oslo") == ("router", "addressed", "orders")
        assert route(server, "others: 3 lamps to Oslo") == ("router", "addressed", "")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise RuntimeError('broken at import')", "RuntimeError: broken at import"),
        (documented().replace("register_routers", "register_router"), "unknown hook 'register_router'"),
        (documented().replace("@hookimpl", ""), "implement register_routers (is @hookimpl missing?)"),
        (documented().replace("Addressed())", "len)"), "is no PromptRouter"),
        (documented().replace("def fit", "def fits"), "abstract"),
        (documented(), "router 'addressed' is already registered"),
    ],
)
def test_a_broken_plugin_is_left_out_with_its_reason(plugin: Plugin, source: str, reason: str) -> None:
    routers = load_routers((plugin("broken", source), plugin("a_good", documented())))
    good, broken = routers.plugins
    assert (good.error, list(routers.by_name)) == ("", ["addressed"])
    assert reason in broken.error
    assert broken.routers == ()
    with pytest.raises(ConfigError, match=r"unknown router 'nearest' \(known: addressed\); broken plugins: broken: "):
        routers.get("nearest")


def test_an_unknown_router_ends_serve_before_the_base_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = run("serve", "--base", "no-such-base", "--router", "similarty")
    assert ended.exit_code == 2
    assert "unknown router 'similarty'; did you mean 'similarity'? (known: similarity)" in ended.stderr
    monkeypatch.setenv(VARIABLE, "serve")
    assert (
        "(known: none); switched off by ADAPTERHUB_PLUGINS: similarity"
        in run("serve", "--base", "no-such-base", "--router", "similarity").stderr
    )
