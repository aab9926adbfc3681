"""A PostgreSQL server of the tests' own, where its programs are installed."""

import getpass
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

SERVER_USER = "postgres"
"""User of the server if the tests run as root, because PostgreSQL refuses to run as root."""


@pytest.fixture
def postgresql() -> Iterator[str]:
    """The URL of an empty database. The server listens only on a socket in a folder."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    found = shutil.which("initdb", path=os.pathsep.join([os.environ["PATH"], *map(str, programs)]))
    if found is None or importlib.util.find_spec("psycopg") is None:
        pytest.skip("needs a PostgreSQL server's programs and psycopg: pip install 'psycopg[binary]'")
    asked = [] if getpass.getuser() != "root" else ["runuser", "-u", SERVER_USER, "--"]
    if asked and shutil.which("runuser") is None:
        pytest.skip("PostgreSQL does not run as root, and there is no runuser")
    with tempfile.TemporaryDirectory() as folder:
        if asked:
            shutil.chown(folder, SERVER_USER)
        data, control = f"{folder}/data", str(Path(found).with_name("pg_ctl"))

        def call(*command: str) -> None:
            subprocess.run([*asked, *command], check=True, cwd=folder, stdout=subprocess.DEVNULL)

        call(found, "-D", data, "-U", "me", "-A", "trust")
        call(control, "-D", data, "-w", "-l", f"{folder}/log", "-o", f"-k {folder} -c listen_addresses=''", "start")
        try:
            yield f"postgresql://me@/postgres?host={folder}"
        finally:
            call(control, "-D", data, "-m", "immediate", "stop")
