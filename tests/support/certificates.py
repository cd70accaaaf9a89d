"""Certificates of a test's own authority, made by the openssl program."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

OPENSSL = shutil.which("openssl")
P256 = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")
_KEY = ("-nodes", "-newkey", *P256)
_CONFIG = """[ca]
default_ca = own
[own]
database = {folder}/index.txt
new_certs_dir = {folder}
certificate = {folder}/ca.crt
private_key = {folder}/ca.key
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
copy_extensions = copy
[any]
commonName = supplied
"""


def _openssl(*arguments: str) -> None:
    if OPENSSL is None:
        raise RuntimeError("openssl is not installed")
    done = subprocess.run([OPENSSL, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)


class Authority:
    """A certificate authority in a folder. `certificate` is its own, in PEM."""

    def __init__(self, folder: Path, name: str, days: int = 2) -> None:
        self._folder = folder / name
        self._folder.mkdir()
        (self._folder / "index.txt").touch()
        self._config = self._folder / "ca.cnf"
        self._config.write_text(_CONFIG.format(folder=self._folder))
        key, own = self._folder / "ca.key", self._folder / "ca.crt"
        _openssl(
            "req", "-x509", *_KEY, "-keyout", str(key), "-out", str(own), "-days", str(days), "-subj", f"/CN={name}"
        )
        self.certificate = own.read_bytes()
        self._made = 0

    def leaf(
        self, *names: str, seconds: float = 3600, begins: float = -60, key_kind: Sequence[str] = P256
    ) -> tuple[bytes, bytes]:
        """A certificate for these names and its key, both in PEM. It is valid from `begins` seconds from now until
        `seconds` from now, to the second. key_kind: what `openssl req -newkey` takes."""
        self._made += 1
        key, request, made = (self._folder / f"{self._made}.{end}" for end in ("key", "csr", "crt"))
        san = "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)
        _openssl(
            *("req", "-nodes", "-newkey", *key_kind, "-keyout", str(key), "-out", str(request)),
            *("-subj", f"/CN={names[0]}", "-addext", san),
        )
        now = datetime.now(UTC)
        dates = [f"{now + timedelta(seconds=each):%Y%m%d%H%M%SZ}" for each in (begins, seconds)]
        _openssl(
            *("ca", "-batch", "-notext", "-config", str(self._config), "-in", str(request), "-out", str(made)),
            *("-startdate", dates[0], "-enddate", dates[1]),
        )
        return made.read_bytes(), key.read_bytes()


class Secret:
    """A folder as Kubernetes mounts a Secret: `tls.crt`, `tls.key` and `ca.crt` lead through the link `..data` to a
    folder, and a change is another folder and one rename."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._versions = 0
        folder.mkdir()

    def put(self, pair: tuple[bytes, bytes], *authorities: Authority) -> None:
        """Replace what is there, at once."""
        self._versions += 1
        version = self.folder / f"..version{self._versions}"
        version.mkdir()
        bundle = b"".join(each.certificate for each in authorities)
        for name, text in {"tls.crt": pair[0], "tls.key": pair[1], "ca.crt": bundle}.items():
            (version / name).write_bytes(text)
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(Path("..data") / name)
        link = self.folder / "..data_tmp"
        link.symlink_to(version.name)
        link.replace(self.folder / "..data")

    def variables(self) -> dict[str, str]:
        """The settings of a process that is given it."""
        files = {"CERT": "tls.crt", "KEY": "tls.key", "CA": "ca.crt"}
        return {f"RAGMESH_TLS_{name}_FILE": str(self.folder / file) for name, file in files.items()}
