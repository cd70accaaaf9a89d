"""`python -m ragmesh_ingestor.backup backup|verify|restore FILE ...`: the process behind `ragmesh backup` and `ragmesh
restore`, which works with nothing but the environment that the ingestor has.

It prints JSON, a line each: {"stage", "done", "total"} while it works, {"result": ...} or {"failure": sentence} at its
end. It exits 0; 1 after a failure; 2 when a setting is wrong; 3 when the backup is whole but lacks documents that
changed all the time; 130 after SIGINT and 143 after SIGTERM, which leave nothing behind.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog

from ragmesh_ingestor.backup import tasks
from ragmesh_servicekit.errors import MeshError
from ragmesh_servicekit.settings import SettingsError

TELL_SECONDS = 0.1
"""Between two lines of progress."""

FAILED, USAGE, INCOMPLETE, INTERRUPTED, TERMINATED = 1, 2, 3, 128 + signal.SIGINT, 128 + signal.SIGTERM


class Progress:
    """Tells of each stage, but not too often."""

    def __init__(self) -> None:
        self._stage, self._told_at = "", 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if stage == self._stage and done < total and now - self._told_at < TELL_SECONDS:
            return
        self._stage, self._told_at = stage, now
        _print({"stage": stage, "done": done, "total": total})


def _print(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ragmesh_ingestor.backup")
    parser.add_argument("task", choices=("backup", "verify", "restore"))
    parser.add_argument("path", type=Path)
    parser.add_argument("--tenant", default="", help="back up this tenant only")
    parser.add_argument("--allow-empty", action="store_true", help="back up stores that have no collection")
    parser.add_argument("--overwrite", action="store_true", help="back up over a file that is there")
    parser.add_argument("--replace", action="store_true", help="delete the collections that are there")
    return parser.parse_args(argv)


async def _work(wanted: argparse.Namespace) -> Any:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    path: Path = wanted.path.absolute()
    if wanted.task == "backup":
        return await tasks.back_up(
            os.environ,
            path,
            Progress(),
            tenant=wanted.tenant,
            overwrite=wanted.overwrite,
            allow_empty=wanted.allow_empty,
        )
    if wanted.task == "verify":
        return await tasks.verify(path, Progress())
    return await tasks.restore(os.environ, path, Progress(), replace=wanted.replace)


def _of_the_system(error: OSError, path: Path) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"there is no space left for {path}"
    return f"{error.filename or path}: {error.strerror or error}"


def main(argv: Sequence[str] | None = None) -> int:
    """Do what argv says; the exit code. What the adapters log is not wanted."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    wanted = _arguments(sys.argv[1:] if argv is None else argv)
    try:
        result = asyncio.run(_work(wanted))
    except SettingsError as error:
        _print({"failure": str(error)})
        return USAGE
    except MeshError as error:
        _print({"failure": error.message})
        return FAILED
    except BrokenPipeError:  # whoever asked is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        _print({"failure": _of_the_system(error, wanted.path)})
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except asyncio.CancelledError:
        return TERMINATED
    _print({"result": result})
    return INCOMPLETE if tasks.left_out(result) else 0


if __name__ == "__main__":
    sys.exit(main())
