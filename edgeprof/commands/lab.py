"""``edgeprof lab [FOLDER]``: JupyterLab, in a folder with models and profiles."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.util import find_spec
from pathlib import Path

from edgeprof.commands import options
from edgeprof.errors import MissingExtra, UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``edgeprof lab``."""
    parser.add_argument("folder", metavar="FOLDER", nargs="?", default=".", help="where to start (default: this folder)")
    parser.add_argument(
        "--port", type=options.whole_number("--port", 0), metavar="N", help="port of the server (default: 8888, or the next free one)"
    )
    parser.add_argument("--ip", metavar="ADDRESS", help="address to listen on (default: this machine only)")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")
    parser.add_argument("--allow-root", action="store_true", help="start even as root, as in a container")


def run(args: argparse.Namespace) -> int:
    """Becomes the JupyterLab server."""
    folder = Path(args.folder)
    if not folder.is_dir():
        came = "is no folder" if folder.exists() else "does not exist"
        raise UsageError(f"{folder} {came}. Give the folder to start JupyterLab in.")
    if args.port is not None and args.port > 65535:
        raise UsageError(f"--port is {args.port}; give a number up to 65535.")
    if find_spec("jupyterlab") is None:
        raise MissingExtra("JupyterLab is not installed. Install it with `pip install 'edgeprof[notebook]'`.")
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={folder.resolve()}"]
    command += [f"--port={args.port}"] if args.port is not None else []
    command += [f"--ip={args.ip}"] if args.ip else []
    command += ["--no-browser"] if args.no_browser else []
    command += ["--allow-root"] if args.allow_root else []
    sys.stdout.flush()
    os.execv(sys.executable, command)  # noqa: S606 - no shell is wanted
    return 0
