"""protos/lint.sh breaking: which revision it compares with, and that a break is found. In clones of a small repository
with the project's own script and tools."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]
CONTRACT = """syntax = "proto3";
package ragmesh.test.v1;
message Thing {{
  string name = 1;
  {field}
}}
"""
FIRST, COMPATIBLE, BROKEN = "", "int32 size = 2;", "int32 length = 1;"


@dataclass
class Clone:
    path: Path

    def git(self, *arguments: str) -> str:
        who = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
        return subprocess.run(
            ["git", *who, *arguments], cwd=self.path, check=True, capture_output=True, text=True
        ).stdout.strip()

    def write(self, field: str) -> None:
        folder = self.path / "protos" / "ragmesh" / "test" / "v1"
        folder.mkdir(parents=True, exist_ok=True)
        text = CONTRACT.format(field=field)
        (folder / "thing.proto").write_text(
            text.replace("  string name = 1;\n", "") if field.startswith(BROKEN) else text
        )

    def commit(self, field: str) -> str:
        self.write(field)
        self.git("add", "protos")
        self.git("commit", "-q", "-m", "contract")
        return self.git("rev-parse", "HEAD")

    def breaking(self, *ref: str) -> subprocess.CompletedProcess[str]:
        if not (self.path / ".venv").exists():
            (self.path / ".venv").symlink_to(Path(sys.executable).parents[1])
        return subprocess.run(
            ["bash", "protos/lint.sh", "breaking", *ref], cwd=self.path, capture_output=True, text=True, timeout=60
        )


def clone_of(origin: Clone, path: Path, *options: str) -> Clone:
    subprocess.run(["git", "clone", "-q", *options, f"file://{origin.path}", str(path)], check=True)
    return Clone(path)


@pytest.fixture
def origin(tmp_path: Path) -> Clone:
    """main with one commit of the contract."""
    repository = Clone(tmp_path / "origin")
    (repository.path / "protos").mkdir(parents=True)
    for name in ("lint.sh", "buf.yaml"):
        shutil.copy(PROJECT / "protos" / name, repository.path / "protos" / name)
    repository.git("init", "-q", "-b", "main")
    repository.commit(FIRST)
    return repository


def test_a_branch_is_compared_with_where_it_left_main(origin: Clone, tmp_path: Path) -> None:
    clone = clone_of(origin, tmp_path / "clone")
    clone.git("checkout", "-q", "-b", "change")
    clone.commit(COMPATIBLE)
    good = clone.breaking()
    assert (good.returncode, good.stdout.split()[:3]) == (0, ["breaking", "changes:", "none"])
    clone.commit(BROKEN)
    origin.commit("int64 other = 3;")  # main goes on; that is not this branch's doing
    clone.git("fetch", "-q")
    bad = clone.breaking()
    assert bad.returncode == 1
    assert 'Field "1" on message "Thing" changed name from "name" to "length"' in bad.stdout
    assert origin.git("rev-parse", "--short", "HEAD~1") in bad.stderr


def test_on_main_the_last_change_of_the_contract_is_checked_committed_or_not(origin: Clone) -> None:
    assert "not checked: there is no earlier contract" in origin.breaking().stdout
    before = origin.commit(COMPATIBLE)
    assert origin.breaking().returncode == 0
    origin.write(BROKEN)
    assert origin.breaking().returncode == 1
    origin.commit(BROKEN)
    origin.git("commit", "-q", "--allow-empty", "-m", "something else")
    assert origin.breaking().returncode == 1
    assert origin.breaking(before).returncode == 1


def test_on_main_a_release_is_what_counts(origin: Clone) -> None:
    origin.commit(BROKEN)
    origin.git("tag", "v1.0")
    origin.commit(BROKEN + "\n  string more = 3;")
    done = origin.breaking()
    assert (done.returncode, done.stdout) == (
        0,
        f"breaking changes: none since {origin.git('rev-parse', '--short', 'v1.0')}\n",
    )


def test_a_shallow_clone_says_what_it_lacks_and_passes(origin: Clone, tmp_path: Path) -> None:
    origin.commit(BROKEN)
    done = clone_of(origin, tmp_path / "shallow", "--depth=1").breaking()
    assert done.returncode == 0
    assert "not checked: this shallow clone has no earlier contract (git fetch --unshallow)" in done.stdout


def test_a_tree_without_git_says_so_and_passes(origin: Clone, tmp_path: Path) -> None:
    shutil.copytree(origin.path / "protos", tmp_path / "unpacked" / "protos")
    done = Clone(tmp_path / "unpacked").breaking()
    assert (done.returncode, done.stdout) == (0, "breaking changes: not checked: this is no git repository\n")


def test_a_revision_that_is_not_there_is_an_error(origin: Clone) -> None:
    assert origin.breaking("nothing").returncode == 2
