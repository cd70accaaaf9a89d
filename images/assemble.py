"""Puts a process's environment together inside an image build: the hashed closure, the workspace members, the SBOM.

Runs in the build stage only, with that stage's Python and nothing but the standard library:

    assemble.py tools REQUIREMENTS         /tools: what builds the workspace members
    assemble.py closure REQUIREMENTS       /closure/app: a virtual environment with exactly the packages of the file
    assemble.py members NAME FOLDER...     /own/app: the workspace members, and the SBOM of everything
    assemble.py model                      /model/app/models: the embedding graph, built from the installed weights
    assemble.py volume PATH                /volume/PATH: an empty folder, for a volume

Every tree comes out the same from the same inputs: bytecode is checked by hash, not by time, nothing records where it
was downloaded, and every file has the time SOURCE_DATE_EPOCH.
"""

from __future__ import annotations

import compileall
import json
import os
import py_compile
import shutil
import subprocess
import sys
from pathlib import Path

import sbom

APP, PARTS, OWN, MODEL, VOLUME, TOOLS = (
    Path(f"/{name}") for name in ("app", "closure", "own", "model", "volume", "tools")
)
CLOSURE = Path("/closure.json")
"""The components that pip installed into /app, with the hash of each file; read when the SBOM is written."""

EPOCH = int(os.environ.get("SOURCE_DATE_EPOCH") or 315532800)
"""1980-01-01, the oldest time that a wheel can hold, unless the build says another."""

PACKAGES = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
COMMANDS = {"python", "python3", f"python3.{sys.version_info[1]}", "ragmesh"}


def run(*argv: str | Path, cwd: Path | None = None, **settings: str) -> None:
    """Run it with these settings in its environment; its failure ends the build."""
    environment = {**os.environ, **settings, "SOURCE_DATE_EPOCH": str(EPOCH), "PYTHONHASHSEED": "0"}
    subprocess.run([str(part) for part in argv], check=True, cwd=cwd, env=environment)  # noqa: S603  # fixed commands


def pip(*arguments: str | Path) -> None:
    """pip of the build stage, working on the environment in /app; without its own guesses about dependencies."""
    run(TOOLS / "bin/pip", "--python", APP / "bin/python", "install", "--no-deps", "--no-compile", *arguments)


def tools(requirements: Path) -> None:
    """An environment that is left behind in the build stage."""
    run(sys.executable, "-m", "venv", TOOLS)
    run(TOOLS / "bin/pip", "install", "--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", requirements)


def closure(requirements: Path) -> None:
    """Install what the file names and nothing else. Wheels only, so that no compiler is needed; a wrong hash or a
    missing wheel ends the build."""
    run(sys.executable, "-m", "venv", "--without-pip", APP)
    report = Path("/report.json")
    pip("--require-hashes", "--only-binary", ":all:", "--report", report, "-r", requirements)
    installed = json.loads(report.read_text())["install"]
    CLOSURE.write_text(json.dumps([sbom.third_party(entry) for entry in installed]))
    tidy(APP)
    # A folder is only copied with its time when it lies below the one that is named.
    shutil.copytree(APP, PARTS / "app", symlinks=True, copy_function=os.link)
    tidy(PARTS, compiled=True)


def members(name: str, folders: list[Path]) -> None:
    """Build each workspace member's wheel and install it under /own, which is laid over /app."""
    wheels = Path("/wheels")
    for folder in folders:
        run(TOOLS / "bin/python", "-m", "hatchling", "build", "--target", "wheel", "--directory", wheels, cwd=folder)
    built = sorted(wheels.glob("*.whl"))
    pip("--no-index", "--prefix", OWN / "app", *built)
    own = [sbom.member(wheel) for wheel in built]
    document = sbom.document(name, [*json.loads(CLOSURE.read_text()), *own], EPOCH)
    (OWN / "app/sbom.cdx.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
    tidy(OWN)


def model() -> None:
    """The int8 graph: built here, so that a process starts at once on a root that it cannot write to."""
    folder = MODEL / "app/models"
    path = os.pathsep.join((f"{OWN}/app/{PACKAGES}", f"{APP}/{PACKAGES}"))
    run(APP / "bin/python", "-B", "-m", "ragmesh_backends.embeddings.cache", folder, PYTHONPATH=path)
    for lock in folder.glob("*.lock"):
        lock.unlink()
    tidy(MODEL)


def tidy(tree: Path, *, compiled: bool = False) -> None:
    """Leave only what is needed at run time, in the same bytes and with the same times each time."""
    if not compiled:
        clean_and_compile(tree)
    for path in (tree, *tree.rglob("*")):
        os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)


def clean_and_compile(tree: Path) -> None:
    """Remove what the build left, and write bytecode that is valid whatever the times of the sources are."""
    for cache in sorted(tree.rglob("__pycache__")):
        shutil.rmtree(cache)
    for folder in tree.glob("**/bin"):
        if folder.parent.name == "app":
            for command in folder.iterdir():
                if command.name not in COMMANDS:
                    command.unlink()
    for place in tree.rglob("direct_url.json"):  # where the wheel lay during the build
        place.unlink()
    for packages in tree.glob(f"**/{PACKAGES}"):
        compileall.compile_dir(
            packages,
            quiet=2,
            workers=1,
            stripdir=OWN if tree == OWN else None,  # tracebacks name the place where the file is at run time
            prependdir="/" if tree == OWN else None,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )


def main() -> None:
    command, *rest = sys.argv[1:]
    match command:
        case "tools":
            tools(Path(rest[0]))
        case "closure":
            closure(Path(rest[0]))
        case "members":
            members(rest[0], [Path(folder) for folder in rest[1:]])
        case "model":
            model()
        case "volume":
            (VOLUME / rest[0].lstrip("/")).mkdir(parents=True)
            tidy(VOLUME)
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
