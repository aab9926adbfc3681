"""Runs each measurement in its own process, and measures time and peak memory from outside."""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.speed.work import Job

ROOT = Path(__file__).resolve().parents[2]
MEASURE = """
import json, os, sys, time
started = time.perf_counter()
process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(process, 0)
print()
print(json.dumps([os.waitstatus_to_exitcode(status), time.perf_counter() - started, usage.ru_maxrss]))
"""
"""A small process in between: on Linux the peak of a program includes the peak of the process that starts it."""


@dataclass(frozen=True)
class Outcome:
    """The result of a process.

    Attributes:
        figures: the JSON of its last line, with ``wall_seconds`` and ``peak_mb`` (10^6 bytes, resident). None if it
            failed.
        problem: reason of the failure.
    """

    figures: dict[str, Any] | None
    problem: str = ""


def run_side(name: str, job: Job) -> Outcome:
    """Run a side on a job. Its Kerora cache is empty, so that the time includes tokenising."""
    with tempfile.TemporaryDirectory(dir=job.folder) as cache:
        job = dataclasses.replace(job, started=time.time())
        command = [sys.executable, "-m", "benchmarks.speed.side", name, job.as_json()]
        return run_command(command, {"KERORA_CACHE": cache})


def run_command(
    command: list[str], environment: dict[str, str] | None = None, text: str | None = None, plain: bool = False
) -> Outcome:
    """Run a command in the folder of the project.

    Args:
        command: the command.
        environment: variables to add.
        text: standard input.
        plain: read no figures from the output, and measure only time and memory.
    """
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1", **(environment or {})}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as given:
        given.write((text or "").encode())
        given.seek(0)
        subprocess.run(
            [sys.executable, "-S", "-c", MEASURE, *command],
            cwd=ROOT,
            env=variables,
            stdin=given,
            stdout=out,
            stderr=err,
            check=True,
        )
        out.seek(0)
        err.seek(0)
        *lines, usage = filter(None, out.read().decode(errors="replace").splitlines())
        complaint = err.read().decode(errors="replace").strip().splitlines()
    code, seconds, peak = json.loads(usage)
    if code:
        return Outcome(None, complaint[-1] if complaint else f"exit code {code}")
    return Outcome({**({} if plain else json.loads(lines[-1])), "wall_seconds": seconds, "peak_mb": _bytes(peak) / 1e6})


def _bytes(peak: int) -> int:
    # Linux counts in units of 1,024 bytes, macOS in bytes
    return peak if sys.platform == "darwin" else peak * 1024
