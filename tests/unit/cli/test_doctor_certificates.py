"""The doctor's look at the files of TLS."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragmesh_cli.doctor.certificates import certificates
from ragmesh_cli.doctor.finding import Level, Situation
from ragmesh_cli.home import Home
from support.certificates import OPENSSL, Authority, Secret

pytestmark = pytest.mark.skipif(OPENSSL is None, reason="the openssl program is not installed")
DAY = 86400.0


def situation(folder: Path, environ: dict[str, str]) -> Situation:
    return Situation(Home(folder / "home"), environ, None)


def test_without_tls_nothing_is_said(tmp_path: Path) -> None:
    assert certificates(situation(tmp_path, {"RAGMESH_TLS_CERT_FILE": ""})) == []


@pytest.mark.parametrize(
    ("days", "level", "words"),
    [
        (20, Level.OK, "fits its key and CA, until 20"),
        (13, Level.WARNING, "expires in 13 days"),
        (-1, Level.ERROR, "has"),
    ],
)
def test_a_certificate_that_ends_within_14_days_is_a_warning(
    tmp_path: Path, days: float, level: Level, words: str
) -> None:
    ours, secret = Authority(tmp_path, "ours", days=40), Secret(tmp_path / "secret")
    secret.put(ours.leaf("gateway", seconds=days * DAY, begins=-2 * DAY), ours)
    (finding,) = certificates(situation(tmp_path, secret.variables()))
    assert (finding.check, finding.level) == ("tls", level)
    assert words in finding.what


def test_a_variable_that_is_missing_is_named(tmp_path: Path) -> None:
    (finding,) = certificates(situation(tmp_path, {"RAGMESH_PUBLIC_TLS_CERT_FILE": "/x"}))
    assert finding.level is Level.ERROR
    assert finding.what.startswith("RAGMESH_PUBLIC_TLS_KEY_FILE is not set")
