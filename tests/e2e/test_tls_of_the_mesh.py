"""A mesh with TLS everywhere: between its processes with certificates on both sides, and on its public ports, which ask
for none. The command line, a REST client and a gRPC client use it; then the public certificate is renewed."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import httpx
import pytest

from e2e.conftest import DOCUMENTS
from ragmesh.gateway.v1 import ask_pb2, ask_pb2_grpc
from support.certificates import OPENSSL, Authority, Secret
from support.mesh import Mesh

pytestmark = pytest.mark.skipif(OPENSSL is None, reason="the openssl program is not installed")
QUESTION = "Where did William Douglass die?"


@dataclass
class Shut:
    """A mesh with TLS; who signed its public certificate now; where that is renewed."""

    mesh: Mesh
    public: Authority
    secret: Secret
    folder: Path

    def rest(self) -> httpx.Client:
        """Trusts the authority, shows no certificate."""
        trust = ssl.create_default_context(cadata=self.public.certificate.decode())
        url = str(self.mesh.state()["rest"]).replace("127.0.0.1", "localhost")
        auth = {"authorization": f"Bearer {self.mesh.key}"}
        return httpx.Client(base_url=url, headers=auth, verify=trust, timeout=30, trust_env=False)

    def channel(self) -> grpc.Channel:
        """Likewise."""
        address = str(self.mesh.state()["grpc"]).replace("127.0.0.1", "localhost")
        options = [("grpc.use_local_subchannel_pool", 1)]
        return grpc.secure_channel(address, grpc.ssl_channel_credentials(self.public.certificate), options)

    def asked(self) -> str:
        """What a gRPC client hears."""
        with self.channel() as channel:
            request = ask_pb2.AskRequest(collection_id="facts", question=QUESTION)
            auth = (("authorization", f"Bearer {self.mesh.key}"),)
            return str(ask_pb2_grpc.AskServiceStub(channel).Ask(request, timeout=30, metadata=auth))


@pytest.fixture(scope="module")
def shut(embedding_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shut]:
    folder = tmp_path_factory.mktemp("tls")
    inner, public = Authority(folder, "inner"), Authority(folder, "public")
    ours, shown = Secret(folder / "mesh"), Secret(folder / "shown")
    ours.put(inner.leaf("gateway", "retriever", "generator", "ingestor"), inner)
    shown.put(public.leaf("localhost", "ragmesh.example"))
    files = {
        "RAGMESH_PUBLIC_TLS_CERT_FILE": str(shown.folder / "tls.crt"),
        "RAGMESH_PUBLIC_TLS_KEY_FILE": str(shown.folder / "tls.key"),
    }
    mesh = Mesh.at(embedding_cache, {**ours.variables(), **files})
    try:
        mesh.start()
        documents = folder / "documents"
        documents.mkdir()
        for name, text in DOCUMENTS.items():
            (documents / name).write_text(text)
        done = mesh.run("ingest", str(documents), "-c", "facts")
        assert done.returncode == 0, done.stderr
        yield Shut(mesh, public, shown, folder)
    finally:
        mesh.close()


def test_the_command_line_asks_through_tls_and_finds_all_well(shut: Shut) -> None:
    asked = shut.mesh.run("ask", QUESTION, "-c", "facts")
    assert asked.returncode == 0, asked.stderr
    assert "Penzance" in asked.stdout
    examined = json.loads(shut.mesh.run("doctor", "--json").stdout)
    assert [each for each in examined["findings"] if each["level"] == "error"] == []
    tls = [each["what"] for each in examined["findings"] if each["check"] == "tls"]
    assert len(tls) == 2
    elsewhere = str(shut.mesh.state()["grpc"]).replace("127.0.0.1", "localhost")
    wrong = shut.mesh.run("search", QUESTION, "-c", "facts", "--address", f"https://{elsewhere}")
    assert wrong.returncode != 0
    assert "certificate" in wrong.stderr
    environment = {**shut.mesh.environment, "RAGMESH_CA_FILE": str(shut.folder / "public" / "ca.crt")}
    known = replace(shut.mesh, environment=environment)
    assert known.run("search", QUESTION, "-c", "facts", "--address", f"https://{elsewhere}").returncode == 0
    assert "has it TLS?" in known.run("search", QUESTION, "-c", "facts", "--address", elsewhere).stderr


def test_rest_and_grpc_answer_clients_without_a_certificate(shut: Shut) -> None:
    with shut.rest() as rest:
        answer = rest.post("/v1/collections/facts:ask", json={"question": QUESTION})
    assert answer.status_code == 200
    assert "Penzance" in answer.text
    assert "Penzance" in shut.asked()


def test_nothing_answers_without_tls_or_inside_without_a_certificate(shut: Shut) -> None:
    state = shut.mesh.state()
    with pytest.raises(httpx.TransportError):
        httpx.get(str(state["rest"]).replace("https", "http") + "/livez", trust_env=False)
    inner = [str(each["address"]) for each in state["processes"] if each["name"].startswith(("retr", "gene", "inge"))]
    assert len(inner) == 3
    for address in [str(state["grpc"]), *inner]:
        with grpc.insecure_channel(address) as plain, pytest.raises(grpc.RpcError):
            plain.unary_unary("/grpc.health.v1.Health/Check", None, None)(b"", timeout=5)
    for address in inner:
        trust = grpc.ssl_channel_credentials((shut.folder / "inner" / "ca.crt").read_bytes())
        unknown = grpc.secure_channel(address, trust, [("grpc.ssl_target_name_override", "retriever")])
        with unknown, pytest.raises(grpc.RpcError):
            unknown.unary_unary("/grpc.health.v1.Health/Check", None, None)(b"", timeout=5)


def test_a_new_public_certificate_is_shown_without_a_restart(shut: Shut) -> None:
    pids = [each["pid"] for each in shut.mesh.state()["processes"]]
    other = Authority(shut.folder, "other")
    shut.secret.put(other.leaf("localhost", "ragmesh.example"))
    shut.public = other
    deadline = time.monotonic() + 10
    while True:
        try:
            with shut.rest() as rest:
                assert rest.get("/v1/collections").status_code == 200
            break
        except httpx.ConnectError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert "Penzance" in shut.asked()
    assert shut.mesh.run("search", QUESTION, "-c", "facts").returncode == 0
    assert [each["pid"] for each in shut.mesh.state()["processes"]] == pids
