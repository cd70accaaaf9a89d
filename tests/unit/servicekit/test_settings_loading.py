"""Settings from an environment, and the sentence for each wrong one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from ragmesh_servicekit.process_settings import signing_keys
from ragmesh_servicekit.settings import SettingsError, load, reference, setting

GOOD_KEY = "k1:" + "A" * 43


@dataclass(frozen=True, slots=True)
class Inner:
    keys: str = setting("T_KEYS", doc="Signing keys.", secret=True, check=signing_keys)
    level: str = setting("T_LEVEL", "INFO", doc="The level.", choices=("INFO", "DEBUG"))


@dataclass(frozen=True, slots=True)
class Outer:
    inner: Inner
    port: int = setting("T_PORT", 9090, doc="The port.", minimum=0, maximum=65535)
    ratio: float = setting("T_RATIO", 0.5, doc="A share.", minimum=0, maximum=1)
    fast: bool = setting("T_FAST", False, doc="Whether it is fast.")
    folder: Path | None = setting("T_FOLDER", None, doc="A folder.")
    peers: tuple[str, ...] = setting("T_PEERS", (), doc="Names.")


def problems(**environ: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load(Outer, {"T_KEYS": GOOD_KEY, **environ})
    return caught.value.problems


def test_values_are_read_and_defaults_stand() -> None:
    settings = load(Outer, {"T_KEYS": GOOD_KEY, "T_PORT": " 80 ", "T_FAST": "Yes", "T_PEERS": "a, b,", "T_RATIO": " "})
    assert settings == Outer(Inner(GOOD_KEY, "INFO"), 80, 0.5, True, None, ("a", "b"))


def test_every_wrong_variable_has_its_sentence() -> None:
    assert problems(T_PORT="70000", T_RATIO="nan", T_FAST="maybe", T_LEVEL="LOUD") == (
        "T_LEVEL: must be one of INFO, DEBUG (it is 'LOUD')",
        "T_PORT: must be from 0 to 65535 (it is '70000')",
        "T_RATIO: must be a number (it is 'nan')",
        "T_FAST: must be true or false (it is 'maybe')",
    )


def test_a_required_variable_that_is_missing_says_what_it_is() -> None:
    with pytest.raises(SettingsError, match=r"T_KEYS: must be set \(Signing keys\.\)"):
        load(Outer, {})


def test_a_wrong_secret_is_not_shown() -> None:
    (problem,) = problems(T_KEYS="k1:hunter2")
    assert problem == "T_KEYS: each key must be `id:secret` with at least 32 bytes in URL-safe base64"


@pytest.mark.parametrize("keys", ["", ",", "k1", ":" + "A" * 43, "k1:" + "*" * 60, f"{GOOD_KEY},k2:short"])
def test_keys_that_are_not_keys_are_refused(keys: str) -> None:
    with pytest.raises(ValueError, match="key"):
        signing_keys(keys)


def test_the_first_key_of_a_set_stays_the_first() -> None:
    assert list(signing_keys(f"new:{'B' * 43}, {GOOD_KEY}")) == ["new", "k1"]
    with pytest.raises(ValueError, match="k1 is there twice"):
        signing_keys(f"{GOOD_KEY},{GOOD_KEY}")


def test_a_secret_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(GOOD_KEY + "\n")
    assert load(Outer, {"T_KEYS_FILE": str(file)}).inner.keys == GOOD_KEY
    with pytest.raises(SettingsError, match="T_KEYS: is set, and T_KEYS_FILE too; set one of them"):
        load(Outer, {"T_KEYS_FILE": str(file), "T_KEYS": GOOD_KEY})


def test_a_file_that_cannot_be_read_is_the_only_complaint(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    for file, why in [(tmp_path / "none", "cannot be read: No such file or directory"), (binary, "is not text")]:
        with pytest.raises(SettingsError) as caught:
            load(Outer, {"T_KEYS_FILE": str(file)})
        assert caught.value.problems == (f"T_KEYS_FILE: {file} {why}",)


def test_the_reference_names_each_variable_once_with_its_readers() -> None:
    table = reference({"one": Outer, "two": Inner}).splitlines()
    assert table[2:4] == [
        "| `T_FAST` | `false` | one | Whether it is fast. |",
        "| `T_FOLDER` | empty | one | A folder. |",
    ]
    assert "| `T_PORT` | `9090` | one | The port. From 0 to 65535. |" in table
    assert "| `T_KEYS` | required | all | Signing keys. Secret; may be given as a file in `T_KEYS_FILE`. |" in table
