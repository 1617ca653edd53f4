"""Who is alive: processes told apart by pid and start time, so that a reused pid is never mistaken for its predecessor.

Linux answers from ``/proc``, other systems through ``ps``.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

_PROC = Path("/proc")
_N_FIELDS_TO_STATE = 0  # fields of /proc/<pid>/stat counted behind the command name: state first ...
_N_FIELDS_TO_START = 19  # ... and the start time in clock ticks since boot twentieth
_DEAD_STATES = frozenset("ZXx")


def start_token(pid: int) -> str | None:
    """Return a token that names the start of process ``pid``, or ``None`` if no such process runs.

    A zombie counts as dead: it holds no resource and only waits for its parent.
    """
    if pid <= 0:
        return None
    if (_PROC / "self" / "stat").exists():
        return _start_token_proc(pid)
    return _start_token_ps(pid)


def command_line(pid: int) -> str:
    """Return the command line of process ``pid``, arguments joined by blanks; empty if it is gone or hidden."""
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return _ps(pid, "command=")


def _start_token_proc(pid: int) -> str | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the command name may itself hold blanks and brackets
    if fields[_N_FIELDS_TO_STATE] in _DEAD_STATES:
        return None
    return fields[_N_FIELDS_TO_START]


def _start_token_ps(pid: int) -> str | None:
    answer = _ps(pid, "stat=,lstart=")
    state, _, started = answer.partition(" ")
    if not answer or state[0] in _DEAD_STATES:
        return None
    return re.sub(r"\W+", "_", started.strip())


def _ps(pid: int, columns: str) -> str:
    try:
        done = subprocess.run(
            ["ps", "-ww", "-o", columns, "-p", str(pid)], capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
