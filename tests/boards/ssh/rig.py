"""A real OpenSSH server as a board: unprivileged, on loopback, with keys, a home and a login shell of its own.

Everything lies in one folder and ends with the object. The account that logs in is the one that runs the tests; its home there is the
folder's ``home``, since the server sets no other variables than the rig tells it.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from edgeprof.agent.lock import holder_of
from edgeprof.boards.entries import Entry

SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
KEYGEN = shutil.which("ssh-keygen")
USER = pwd.getpwuid(os.getuid()).pw_name


def await_(condition: Callable[[], object], message: Callable[[], str] | str = "it never came", within_s: float = 25) -> None:
    """Waits until ``condition`` holds."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, message if isinstance(message, str) else message()
        time.sleep(0.01)


def make_key(path: Path, passphrase: str = "") -> Path:
    subprocess.run([KEYGEN, "-q", "-t", "ed25519", "-N", passphrase, "-C", "test", "-f", str(path)], check=True)
    return path


class Sshd:
    """A board named ``name`` whose files lie in ``folder``. ``shell``: lines that run before each command, as of a login script.

    ``ssh_config``: of the user who goes there.
    """

    address = "127.0.0.1"
    prefix: tuple[str, ...] = ()
    """What the server is started with."""

    def __init__(
        self,
        folder: Path,
        name: str = "board",
        *,
        settings: str = "",
        shell: str = "",
        python: str = sys.executable,
        ssh_config: str = "",
    ) -> None:
        self.folder, self.name, self.python = folder, name, python
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        self.key = make_key(folder / "key")
        self._host_key = make_key(folder / "host_key")
        (folder / "authorized").write_text((folder / "key.pub").read_text())
        self.port = _free_port()
        self._settings, self._shell, self._ssh_config = settings, shell, ssh_config
        self.known_hosts = folder / "known_hosts"
        self.know()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def __enter__(self) -> Sshd:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def entry(self) -> Entry:
        """As a user would have it in their boards file."""
        return Entry(
            self.name,
            f"ssh://{USER}@{self.address}:{self.port}",
            key=str(self.key),
            known_hosts=str(self.known_hosts),
            ssh_config=str(self._empty()),
            python=self.python,
            folder=str(self.home / "cache"),
            lock=str(self.home / "lock"),
        )

    @property
    def cache(self) -> Path:
        """Where edgeprof keeps its files on the board."""
        return self.home / "cache"

    @property
    def jobs(self) -> list[Path]:
        """Folders of jobs that are there."""
        return sorted((self.cache / "jobs").glob("*"))

    def know(self) -> None:
        """The user knows the server's key."""
        kind, key = (self.folder / "host_key.pub").read_text().split()[:2]
        self.known_hosts.write_text(f"[{self.address}]:{self.port} {kind} {key}\n")

    def new_host_key(self) -> None:
        """As after a fresh installation: the server has another key than the user knows."""
        self.stop()
        for path in (self._host_key, self._host_key.with_suffix(".pub")):
            path.unlink()
        make_key(self._host_key)
        self.start()

    def start(self) -> None:
        """Starts the server and waits until it takes connections."""
        config = self.folder / "sshd_config"
        config.write_text("\n".join([
            f"Port {self.port}", f"ListenAddress {self.address}", f"HostKey {self._host_key}",
            f"AuthorizedKeysFile {self.folder / 'authorized'}", "PidFile none", "UsePAM no", "StrictModes no", "UseDNS no",
            "PasswordAuthentication no", "KbdInteractiveAuthentication no",
            "PermitRootLogin prohibit-password", "MaxStartups 100", "MaxSessions 100", "Subsystem sftp internal-sftp",
            f"SetEnv HOME={self.home}", f"ForceCommand {self._command()}", self._settings, "",
        ]))  # fmt: skip
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # an sshd that root starts wants it
        log = (self.folder / "sshd.log").open("ab")
        self._process = subprocess.Popen(
            [*self.prefix, SSHD, "-D", "-e", "-f", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        log.close()
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if self._listens():
                return
            assert self._process.poll() is None, (self.folder / "sshd.log").read_text()
        raise AssertionError("the SSH server does not listen")

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((self.address, self.port), 1):
            return True
        return False

    def stop(self) -> None:
        """Ends the server and all connections; jobs on the board go on."""
        if self._process is not None:
            self.cut()
            self._process.kill()
            self._process.wait()
            self._process = None

    def cut(self) -> None:
        """Ends all connections, but nothing that runs on the board."""
        for process in self.sessions():
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.name().startswith("sshd"):
                    process.kill()

    @contextlib.contextmanager
    def login(self, *lines: str) -> Iterator[None]:
        """Meanwhile these run before each command too, as of a login script."""
        before, self._shell = self._shell, "\n".join([self._shell, *lines])
        self._command()
        try:
            yield
        finally:
            self._shell = before
            self._command()

    @contextlib.contextmanager
    def runtime(self, body: str) -> Iterator[None]:
        """Meanwhile every worker runs ``body`` when it imports the runtime."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            Path(folder, "onnxruntime.py").write_text(
                f"import os, signal, sys\n{body}\nsys.path.remove({folder!r})\ndel sys.modules['onnxruntime']\n"
                "import onnxruntime\nsys.modules['onnxruntime'] = onnxruntime\n"
            )
            with self.login(f"PYTHONPATH={folder}; export PYTHONPATH"):
                yield

    def sessions(self) -> list[psutil.Process]:
        """The server's processes for connections that there are, and those of what they run."""
        return psutil.Process(self._process.pid).children(recursive=True) if self._process is not None else []

    def agents(self) -> list[psutil.Process]:
        """The agent's processes on the board, in any role."""
        found = []
        for process in psutil.process_iter(["cmdline", "status"]):
            line = process.info["cmdline"] or []
            if process.info["status"] != psutil.STATUS_ZOMBIE and any(str(self.cache) in word for word in line):
                found.append(process)
        return found

    def agent(self, role: str) -> psutil.Process:
        """The one process of the agent in this role."""
        (found,) = [process for process in self.agents() if role in process.cmdline()]
        return found

    def is_left_clean(self) -> None:
        """Waits until no process of the agent is left and the lock is free; no job may lie there."""
        await_(lambda: not self.agents(), lambda: f"processes were left on the board: {[p.cmdline()[-3:] for p in self.agents()]}")
        assert not self.jobs
        assert holder_of(str(self.home / "lock")) is None

    def close(self) -> None:
        """Ends everything."""
        self.stop()
        for process in self.agents():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)

    def _command(self) -> str:
        script = self.folder / "shell.sh"
        script.write_text(f'#!/bin/sh\nHOME={self.home}; export HOME; cd "$HOME"\n{self._shell}\nexec /bin/sh -c "$SSH_ORIGINAL_COMMAND"\n')
        script.chmod(0o700)
        return str(script)

    def _empty(self) -> Path:
        path = self.folder / "ssh_config"
        path.write_text(self._ssh_config)
        return path


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
