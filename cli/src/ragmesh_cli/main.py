"""Entry of the `ragmesh` command: failures are one line and a non-zero exit, never a traceback."""

from __future__ import annotations

import os
import sys

INTERRUPTED = 130
USAGE = 2


def main() -> None:
    """Run the command that argv names and exit. The commands are imported in here, so that Ctrl-C while they load ends
    as quietly as later."""
    try:
        sys.exit(_main())
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(INTERRUPTED)


def _main() -> int:
    import click

    from ragmesh_cli.failure import Failure, usage_error
    from ragmesh_cli.program import cli
    from ragmesh_cli.terminal import note
    from ragmesh_servicekit.errors import MeshError

    try:
        cli(prog_name="ragmesh", standalone_mode=False)
    except click.exceptions.Abort as error:
        raise KeyboardInterrupt from error
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return USAGE
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "ragmesh"
        note(f"{path}: {usage_error(error).rstrip('.')}; see `{path} --help`")
        return error.exit_code
    except Failure as error:
        note(f"ragmesh: {error}")
        return error.code
    except MeshError as error:
        note(f"ragmesh: {error.message}")
        return 1
    except BrokenPipeError:  # `ragmesh search ... | head`: nobody reads on, and flushing at exit would fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except UnicodeEncodeError:  # bytes of the command line that are no UTF-8 became lone surrogates
        note("ragmesh: an argument is not valid UTF-8")
        return USAGE
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        note(f"ragmesh: {where}{error.strerror or error}")
        return 1
    except Exception as error:  # a fault of ours: a line for the user, the traceback for whoever asks
        if os.environ.get("RAGMESH_TRACEBACK"):
            raise
        note(f"ragmesh: a fault of ragmesh itself: {type(error).__name__}: {error} (RAGMESH_TRACEBACK=1 shows where)")
        return 1
    return 0
