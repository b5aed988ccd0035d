"""Who may do what: keys with scopes and adapters, tenants that share nothing, TLS on both sides."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from adapterhub_server.access import NEEDS, Access
from adapterhub_server.config import ServeConfig
from adapterhub_server.credentials import CertificateFiles
from adapterhub_server.keys import Keys
from adapterhub_server.service import NAMES, Service
from certificates import make_certificates
from serving import LONG, Serving, serving

from adapterhub.base import BaseModel
from adapterhub.client import Client, Tls
from adapterhub.errors import (
    AuthError,
    ConfigError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    QueueFullError,
    UnavailableError,
)
from adapterhub.pb.v1 import adapters_pb2, inference_pb2, routes_pb2, server_pb2

METHODS = [
    f"/{service.full_name}/{method.name}"
    for module in (adapters_pb2, inference_pb2, routes_pb2, server_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys") / "keys.json")


@pytest.fixture(scope="module")
def server(tiny_base: Path, keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    base = BaseModel.load(str(tiny_base), quantization="none")
    with serving(base, tmp_path_factory.mktemp("serving"), access=Access(keys, max_calls=2)) as running:
        running.publish("shop/orders")
        running.publish("bank/secrets", "bottleneck")
        yield running


@contextmanager
def client(
    server: Serving, keys: Keys, name: str, *, scope: str = "infer", adapters: str = "shop/*"
) -> Iterator[Client]:
    key = keys.create(name, tenant=name, scopes=[scope], adapters=[adapters])
    with Client(server.address, api_key=key) as made:
        yield made


def test_the_table_has_every_method_of_every_service() -> None:
    assert {name.rpartition("/")[0].strip("/") for name in METHODS} == set(NAMES)
    assert set(METHODS) == {name for name in NEEDS if name.startswith("/adapterhub.")}


@pytest.mark.parametrize("method", NEEDS)
@pytest.mark.parametrize("key", [None, "nonsense", "ahk_000000000000_" + "A" * 43], ids=["none", "nonsense", "unknown"])
def test_no_method_answers_without_a_known_key(server: Serving, method: str, key: str | None) -> None:
    metadata = (("authorization", f"Bearer {key}"),) if key else ()
    with grpc.insecure_channel(server.address) as channel, pytest.raises(grpc.RpcError) as refused:
        list(channel.stream_stream(method, bytes, bytes)(iter([b""]), metadata=metadata))
    assert isinstance(refused.value, grpc.Call)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("method", [name for name, scope in NEEDS.items() if scope == "manage"])
def test_a_key_to_infer_manages_nothing(server: Serving, keys: Keys, method: str) -> None:
    key = keys.create(f"infer{method.replace('/', '.')}", tenant="t", scopes=["infer"], adapters=["*"])
    with grpc.insecure_channel(server.address) as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(method, bytes, bytes)(b"", metadata=(("authorization", f"Bearer {key}"),))
    assert isinstance(refused.value, grpc.Call)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_a_method_that_the_table_does_not_have_is_refused(keys: Keys) -> None:
    key = keys.create("everything", tenant="t", scopes=["infer", "manage"], adapters=["*"])
    with pytest.raises(ForbiddenError):
        Access(keys).caller("/adapterhub.v1.Later/New", {"authorization": f"Bearer {key}"})


def test_health_answers_everybody(server: Serving) -> None:
    with Client(server.address) as nobody:
        nobody.wait_ready(timeout=30)


def test_a_key_uses_and_sees_its_own_adapters_alone(server: Serving, keys: Keys) -> None:
    with client(server, keys, "shop") as shop, client(server, keys, "bank", adapters="bank/*") as bank:
        assert shop.generate("hello", adapter="shop/orders", max_new_tokens=1).token_ids
        assert bank.generate("hello", adapter="bank/secrets", max_new_tokens=1).token_ids
        assert shop.generate("hello", max_new_tokens=1).token_ids
        with pytest.raises(ForbiddenError, match="bank/secrets:latest: not allowed"):
            shop.generate("hello", adapter="bank/secrets")
        with pytest.raises(ForbiddenError):
            shop.get("bank/secrets")
        assert {ref for known in shop.list() for ref in known.refs} == {"shop/orders:latest"}


def test_a_digest_of_another_name_is_not_found_under_an_own_name(server: Serving, keys: Keys) -> None:
    digest = server.store.pin("bank/secrets").digest
    with client(server, keys, "sly") as sly, pytest.raises(NotFoundError):
        sly.generate("hello", adapter=f"shop/orders@{digest}")


def test_a_digest_under_an_own_name_shows_and_ends_nothing_of_others(server: Serving, keys: Keys) -> None:
    digest = server.store.pin("bank/secrets").digest
    for scope in ("infer", "manage"):
        with client(server, keys, f"spy-{scope}", scope=scope) as spy:
            for call in (spy.get, spy.unload, spy.pin, spy.unpin):
                with pytest.raises((NotFoundError, ForbiddenError)):
                    call(f"shop/orders@{digest}")


def test_an_adapter_under_two_names_is_shown_under_those_a_key_may_use(server: Serving, keys: Keys) -> None:
    server.store.tag("shop/orders", "bank/orders")
    with client(server, keys, "teller", adapters="bank/*") as teller, client(server, keys, "seller") as seller:
        for asked, name in ((teller, "bank/orders"), (seller, "shop/orders")):
            asked.generate("hello", adapter=name, max_new_tokens=1)
        assert teller.get("bank/orders").refs == ("bank/orders:latest",)
        assert seller.get("shop/orders").refs == ("shop/orders:latest",)


def test_tenants_share_no_computed_rows(server: Serving, keys: Keys) -> None:
    prompt = "a prompt of more than a block of sixteen tokens"
    with client(server, keys, "one") as one, client(server, keys, "two") as two:
        before = server.engine.stats().reused_tokens
        for asked in (one, two):
            asked.generate(prompt, max_new_tokens=1)
        assert server.engine.stats().reused_tokens == before
        two.generate(prompt, max_new_tokens=1)
        assert server.engine.stats().reused_tokens > before


def test_a_client_has_no_more_calls_under_way_than_it_may(server: Serving, keys: Keys) -> None:
    server.pace.seconds = 0.01
    with client(server, keys, "greedy") as greedy, client(server, keys, "modest") as modest:
        running = [greedy.generate_stream("hello", max_new_tokens=LONG, ignore_eos=True) for _ in range(2)]
        for stream in running:
            next(stream)
        with pytest.raises(QueueFullError, match="2 calls of this client"):
            greedy.generate("hello", max_new_tokens=1)
        assert modest.generate("hello", max_new_tokens=1).token_ids
        for stream in running:
            stream.close()
        server.pace.seconds = 0
        server.wait_idle()
        assert greedy.generate("hello", max_new_tokens=1).token_ids


def test_a_revoked_key_is_refused_from_the_next_call_on(server: Serving, keys: Keys) -> None:
    with client(server, keys, "leaver") as leaver:
        assert leaver.info().version
        keys.revoke("leaver")
        with pytest.raises(AuthError, match="not known"):
            leaver.info()


def test_the_file_of_keys_holds_no_secret_and_is_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    own = Keys(path)
    made = own.create("a", tenant="t", scopes=["infer"], adapters=["*"])
    assert made.rpartition("_")[2] not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    assert Keys(path).caller(f"Bearer {made}").tenant == "t"
    with pytest.raises(ConflictError, match="'a' is there already"):
        own.create("a", tenant="t", scopes=["infer"], adapters=[])
    with pytest.raises(ConfigError, match="tenant"):
        own.create("b", tenant="../x", scopes=["infer"], adapters=[])
    with pytest.raises(NotFoundError, match="no key 'b'"):
        own.revoke("b")


@pytest.mark.parametrize("mutual", [False, True])
def test_tls_is_spoken_and_new_certificates_are_taken_without_a_restart(
    tiny_base: Path, tmp_path: Path, mutual: bool
) -> None:
    make_certificates(tmp_path)
    ca = tmp_path / "ca.pem"
    files = CertificateFiles(tmp_path / "server.pem", tmp_path / "server.key", ca if mutual else None)
    own = Tls(ca, tmp_path / "client.pem", tmp_path / "client.key")
    base = BaseModel.load(str(tiny_base), quantization="none")
    with serving(base, tmp_path, certificates=files, tls=own) as server:
        assert server.client.generate("hello", max_new_tokens=1).token_ids
        if mutual:
            with Client(server.address, tls=Tls(ca)) as nobody, pytest.raises(UnavailableError):
                nobody.info(timeout=10)
        (tmp_path / "old.pem").write_bytes(ca.read_bytes())
        make_certificates(tmp_path)
        with Client(server.address, tls=own) as renewed:
            assert renewed.info(timeout=30).version
        late = own._replace(ca=tmp_path / "old.pem")
        with Client(server.address, tls=late) as refused, pytest.raises(UnavailableError):
            refused.info(timeout=10)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"host": "0.0.0.0"}, "TLS .tls_cert, tls_key. or insecure"),
        ({"host": "::", "tls_cert": "c", "tls_key": "k"}, "keys .or tls_client_ca. or insecure"),
        ({"http_port": "0", "http_host": "0.0.0.0"}, "http_host 0.0.0.0: beyond this machine, TLS"),
        ({"tls_cert": "c"}, "one is of no use without the other"),
        ({"tls_client_ca": "c"}, "needs tls_cert"),
    ],
)
def test_beyond_this_machine_nothing_is_served_in_the_clear_unless_asked_for(
    values: dict[str, str], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        ServeConfig.load({"base": "b", **values}, where="serve")
    assert ServeConfig.load({"base": "b", "host": "0.0.0.0", "insecure": True}, where="serve").insecure


def test_a_certificate_that_cannot_be_read_is_named(server: Serving, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("no key")

    async def start() -> None:
        with pytest.raises(ConfigError, match="no private key in PEM form"):
            Service("127.0.0.1", 0, certificates=CertificateFiles(tmp_path / "key", tmp_path / "key"))

    server.loop.run(start())
