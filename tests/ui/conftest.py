"""A real JupyterLab in a real browser. Needs Chromium: EDGEPROF_CHROMIUM, or one on PATH."""

import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from contextlib import contextmanager

import nbformat
import pytest
from playwright.sync_api import Error, expect

CHROMIUM = (
    os.environ.get("EDGEPROF_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)

# What the browser itself may do here, so that tests are alone with our code.
FLAGS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

PATIENCE_MS = 120_000
"""How long is waited for what has to come: a busy machine takes its time, and who sees it come at once has waited for nothing."""

expect.set_options(timeout=PATIENCE_MS)


def pytest_collection_modifyitems(items):
    if CHROMIUM is None and not os.environ.get("CI"):  # in CI a missing browser is an error, not a reason to look away
        for item in items:
            if "ui" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="no Chromium found: set EDGEPROF_CHROMIUM"))


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args):
    assert CHROMIUM, "no Chromium found: set EDGEPROF_CHROMIUM"
    return {**browser_type_launch_args, "executable_path": CHROMIUM, "args": FLAGS}


@pytest.fixture(scope="session")
def base_url():
    """None: pages here have full addresses. (pytest 9.2 warns about pytest-playwright's own, and warnings are errors.)"""


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args):
    return {**browser_context_args, "viewport": {"width": 1400, "height": 1000}}


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """A running JupyterLab with empty settings; see `Lab`."""
    root, home = tmp_path_factory.mktemp("lab"), tmp_path_factory.mktemp("home")
    with running_lab(root, home) as url:
        yield Lab(root, url)


@contextmanager
def running_lab(root, home):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    folders = {
        "JUPYTER_CONFIG_DIR": "c",
        "JUPYTER_DATA_DIR": "d",
        "JUPYTER_RUNTIME_DIR": "r",
        "IPYTHONDIR": "i",
        "JUPYTERLAB_SETTINGS_DIR": "s",
    }
    quiet = home / "s/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    quiet.parent.mkdir(parents=True)
    quiet.write_text('{"fetchNews": "false", "checkForUpdates": false}')  # or it asks, over the notebook
    env = {**os.environ, **{name: str(home / folder) for name, folder in folders.items()}}
    options = [
        "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token=t",
        f"--ServerApp.root_dir={root}", "--LabApp.expose_app_in_browser=True", "--LabApp.news_url=",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    with (
        (home / "lab.log").open("w") as log,
        subprocess.Popen([sys.executable, "-m", "jupyterlab", *options], env=env, stdout=log, stderr=log) as server,
    ):
        url = f"http://127.0.0.1:{port}"
        try:
            wait_for(f"{url}/api/status?token=t", server, home / "lab.log")
            yield url
        finally:
            server.terminate()
            server.wait(20)


def wait_for(url, server, log):
    """Asks until the server answers; stops at once when it has died."""
    for _ in range(600):
        try:
            urllib.request.urlopen(url, timeout=1).close()
        except OSError:
            try:
                server.wait(0.2)
            except subprocess.TimeoutExpired:
                continue
            raise AssertionError(f"JupyterLab ended: {log.read_text()[-2000:]}") from None
        return
    raise AssertionError(f"JupyterLab does not answer: {log.read_text()[-2000:]}")


class Lab:
    """JupyterLab at ``url``, showing the notebooks in ``root``."""

    def __init__(self, root, url):
        self.root, self.url = root, url

    def open(self, page, name, *cells):
        """Opens a new notebook with these cells and waits until its kernel can run them."""
        page.set_default_timeout(PATIENCE_MS)
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, self.root / name)
        page.goto(f"{self.url}/lab/tree/{name}?token=t&reset")
        page.wait_for_function("() => window.jupyterapp?.shell?.currentWidget?.context")
        # "Idle" is shown before the session is connected, and a run asked for then is dropped without a word
        page.evaluate(
            """async () => { const w = window.jupyterapp.shell.currentWidget;
                await w.context.ready; await w.sessionContext.ready; await w.sessionContext.session.kernel.info; }"""
        )

    def run_cell(self, page, index):
        """Runs one cell and waits until it is done."""
        page.evaluate(
            """async (index) => { const w = window.jupyterapp.shell.currentWidget; w.content.activeCellIndex = index;
                await window.jupyterapp.commands.execute('notebook:run-cell'); }""",
            index,
        )

    def output(self, page, index):
        """What cell ``index`` printed."""
        cell = page.locator(".jp-CodeCell").nth(index)
        return cell.locator(".jp-OutputArea-output").inner_text()

    def theme(self, page, name):
        page.evaluate("(theme) => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", name)
        page.wait_for_function("(name) => document.body.dataset.jpThemeName === name", arg=name)

    def close(self, page):
        """Ends the kernels: the next test starts with none."""
        try:
            page.evaluate("async () => { await window.jupyterapp.serviceManager.sessions.shutdownAll(); }")
        except Error:  # the page never came up; there is nothing to end
            return
