"""What a process says at its start of files that it cannot use: one sentence, with the variable and the file."""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import structlog
from prometheus_client import REGISTRY

from ragmesh_servicekit.process_settings import PublicTlsSettings, TlsSettings
from ragmesh_servicekit.settings import SettingsError
from ragmesh_servicekit.tls import rotation as rotation_module
from ragmesh_servicekit.tls.certificate import CertificateFiles, Part
from ragmesh_servicekit.tls.peers import name_options
from ragmesh_servicekit.tls.rotation import Rotation
from ragmesh_servicekit.tls.surfaces import Surfaces
from support.certificates import OPENSSL, Authority

pytestmark = pytest.mark.skipif(OPENSSL is None, reason="the openssl program is not installed")


@dataclass
class Files:
    """A good set, to be spoilt."""

    folder: Path
    ours: Authority

    def write(self, pair: tuple[bytes, bytes], authorities: bytes | None = None) -> None:
        for name, text in (("crt", pair[0]), ("key", pair[1]), ("ca", authorities or self.ours.certificate)):
            (self.folder / name).write_bytes(text)

    def read(self) -> Surfaces:
        return Surfaces.read(TlsSettings(*(str(self.folder / name) for name in ("crt", "key", "ca"))), None)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path / "files", Authority(tmp_path, "ours"))
    made.folder.mkdir()
    made.write(made.ours.leaf("test"))
    return made


def gone(name: str) -> Callable[[Files], None]:
    return lambda files: (files.folder / name).unlink()


def unreadable(files: Files) -> None:
    (files.folder / "key").unlink()
    (files.folder / "key").mkdir()  # for root, a file's mode keeps nothing shut


def expired(files: Files) -> None:
    files.write(files.ours.leaf("test", seconds=-5))


def early(files: Files) -> None:
    files.write(files.ours.leaf("test", begins=600))


def other_key(files: Files) -> None:
    files.write((files.ours.leaf("test")[0], files.ours.leaf("test")[1]))


def foreign(files: Files) -> None:
    files.write(Authority(files.folder, "foreign").leaf("test"))


def key_of(*kind: str) -> Callable[[Files], None]:
    return lambda files: files.write(files.ours.leaf("test", key_kind=kind))


def not_utf8(files: Files) -> None:
    files.write(files.ours.leaf("test", "b\udcfccher"))  # one byte of Latin-1, as an argument of a program


def half(name: str) -> Callable[[Files], None]:
    def spoil(files: Files) -> None:
        path = files.folder / name
        path.write_bytes(path.read_bytes()[:150])

    return spoil


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (gone("crt"), "CERT_FILE: {}/crt cannot be read: No such file or directory"),
        (gone("key"), "KEY_FILE: {}/key cannot be read: No such file or directory"),
        (gone("ca"), "CA_FILE: {}/ca cannot be read: No such file or directory"),
        (unreadable, "KEY_FILE: {}/key cannot be read: Is a directory"),
        (half("crt"), "CERT_FILE: {}/crt holds no whole certificate in PEM"),
        (half("key"), "KEY_FILE: {}/key holds no whole private key in PEM without a password"),
        (half("ca"), "CA_FILE: {}/ca holds no whole certificate in PEM"),
        (other_key, "KEY_FILE: the key in {}/key is not that of the certificate in {}/crt"),
        (expired, "CERT_FILE: the certificate in {}/crt has expired, or its CA has"),
        (early, "CERT_FILE: the certificate in {}/crt is not valid yet, or its CA is not"),
        (foreign, "CERT_FILE: the certificate in {}/crt is not signed by a CA in {}/ca: "),
        (not_utf8, "CERT_FILE: the certificate in {}/crt cannot be decoded: 'utf-8' codec can't decode byte 0xfc"),
        (key_of("ed25519"), "CERT_FILE: the key of the certificate in {}/crt is not RSA, P-256 or P-384; gRPC can use"),
        (key_of("ec", "-pkeyopt", "ec_paramgen_curve:P-521"), "CERT_FILE: the key of the certificate in {}/crt is not"),
        (key_of("rsa-pss"), "CERT_FILE: the key of the certificate in {}/crt is not RSA, P-256 or P-384; gRPC can use"),
        (key_of("rsa:1024"), "CERT_FILE: the certificate in {}/crt cannot be used: EE_KEY_TOO_SMALL"),
    ],
)
def test_each_fault_is_one_sentence_with_the_variable_and_the_file(
    files: Files, spoil: Callable[[Files], None], sentence: str
) -> None:
    spoil(files)
    with pytest.raises(SettingsError) as caught:
        files.read()
    (problem,) = caught.value.problems
    assert problem.startswith("RAGMESH_TLS_" + sentence.replace("{}", str(files.folder)))
    assert "PRIVATE" not in problem


def test_no_damage_to_a_certificate_raises_anything_but_a_refusal(files: Files) -> None:
    chain, key = files.ours.leaf("test")
    der = ssl.PEM_cert_to_DER_cert(chain.decode())
    dice = random.Random(1)
    refused = 0
    for _ in range(150):
        spoilt = bytearray(der)
        spoilt[dice.randrange(len(der))] = dice.randrange(256)
        files.write((ssl.DER_cert_to_PEM_cert(bytes(spoilt)).encode(), key))
        try:
            files.read()
        except SettingsError:
            refused += 1
    assert refused > 100


def test_a_bundle_with_names_between_its_certificates_is_read(files: Files, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    files.write(files.ours.leaf("test"), "# Número uno\n".encode() + files.ours.certificate + other.certificate)
    assert files.read().mesh is not None


def test_a_ca_need_not_be_a_root(files: Files) -> None:
    pair = files.ours.leaf("test")
    files.write(pair, pair[0])  # the shortest chain; gRPC takes it, as the mesh's own command line shows
    assert files.read().mesh is not None


def test_some_of_the_files_are_refused_and_none_is_no_tls(files: Files) -> None:
    with pytest.raises(
        SettingsError, match=r"^RAGMESH_PUBLIC_TLS_KEY_FILE: must be set, since RAGMESH_PUBLIC_TLS_CERT_FILE is$"
    ):
        Surfaces.read(TlsSettings("", "", ""), PublicTlsSettings(str(files.folder / "crt"), ""))
    none = Surfaces.read(TlsSettings("", "", ""), PublicTlsSettings("", ""))
    assert (none.mesh, none.public, none.credentials()) == (None, None, None)


async def test_one_that_expires_while_it_is_used_is_said_once(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    rotation = Rotation("old", CertificateFiles(*(files.folder / name for name in ("crt", "key", "ca"))), "server")
    monkeypatch.setattr(rotation_module, "time", SimpleNamespace(time=lambda: rotation.current.not_after))
    with structlog.testing.capture_logs() as logs:
        await rotation.look()
        await rotation.look()
    assert [line["event"] for line in logs] == ["tls.expired"]


async def test_a_rejected_file_that_comes_back_as_it_was_is_no_longer_reported(files: Files) -> None:
    rotation = Rotation("back", CertificateFiles(*(files.folder / name for name in ("crt", "key", "ca"))), "server")
    labels = {"certificate": "back", "cause": "unreadable"}
    key = files.folder / "key"
    key.rename(files.folder / "away")
    await rotation.look()
    assert REGISTRY.get_sample_value("ragmesh_tls_files_rejected", labels) == 1
    (files.folder / "away").rename(key)
    await rotation.look()
    assert REGISTRY.get_sample_value("ragmesh_tls_files_rejected", labels) == 0


async def test_a_certificate_that_cannot_be_decoded_leaves_the_one_in_use(files: Files) -> None:
    rotation = Rotation("odd", CertificateFiles(*(files.folder / name for name in ("crt", "key", "ca"))), "server")
    used = rotation.current
    not_utf8(files)
    await rotation.look()
    assert rotation.current is used
    assert REGISTRY.get_sample_value("ragmesh_tls_files_rejected", {"certificate": "odd", "cause": "unusable"}) == 1


@pytest.mark.parametrize(
    ("part", "names", "taken"),
    [
        ("server", ("a.mesh", "b.mesh", "c.mesh"), True),
        ("server", ("*.mesh",), True),
        ("server", ("a.mesh",), False),
        ("server", ("*.else", "a.mesh"), False),
        ("client", ("a.mesh",), True),
    ],
)
async def test_a_servers_certificate_must_keep_its_names(
    files: Files, part: Part, names: tuple[str, ...], taken: bool
) -> None:
    files.write(files.ours.leaf("a.mesh", "b.mesh"))
    rotation = Rotation("named", CertificateFiles(*(files.folder / name for name in ("crt", "key", "ca"))), part)
    files.write(files.ours.leaf(*names))
    with structlog.testing.capture_logs() as logs:
        await rotation.look()
        await rotation.look()
    assert [(line["event"], line.get("cause")) for line in logs] == [
        ("tls.reloaded", None) if taken else ("tls.rejected", "other_names")
    ]
    assert rotation.current.names == (names if taken else ("a.mesh", "b.mesh"))


async def test_once_the_one_in_use_has_expired_other_names_are_better_than_it(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotation = Rotation("late", CertificateFiles(*(files.folder / name for name in ("crt", "key", "ca"))), "server")
    files.write(files.ours.leaf("other", seconds=7200))
    await rotation.look()
    assert rotation.current.names == ("test",)
    monkeypatch.setattr(rotation_module, "time", SimpleNamespace(time=lambda: rotation.current.not_after))
    await rotation.look()
    assert rotation.current.names == ("other",)


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("dns:///ragmesh-retriever-headless.ns.svc:9091", None),
        ("retriever:9091", None),
        ("dns:retriever:9091", None),
        ("ipv4:10.0.0.1:9091,10.0.0.2:9091", "retriever"),
        ("dns:///10.0.0.1:9091", "retriever"),
        ("[::1]:9091", "retriever"),
        ("unix:///run/retriever", "retriever"),
    ],
)
def test_the_name_in_a_peers_certificate_is_the_host_or_else_the_service(target: str, name: str | None) -> None:
    assert name_options(target, "retriever") == ([("grpc.ssl_target_name_override", name)] if name else [])


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("dns:///ragmesh-retriever.ns.svc:9091", "ragmesh-retriever.ns.svc"),
        ("retriever:9091", "retriever"),
        ("ipv4:10.0.0.1:9091", "retriever"),
    ],
)
def test_by_a_second_way_the_certificate_has_the_same_name(target: str, name: str) -> None:
    assert name_options(target, "retriever", elsewhere=True) == [("grpc.ssl_target_name_override", name)]
