"""How long the service takes from its start until it is ready, what is checked by then, and what it holds in memory.

Run: python -m benchmarks.api_start --home HOME [--repeats 5] [--cold]

HOME holds a current release that is in the database too. ``ready`` is `/v1/health/ready` answering 200: model with its text
tower, index, tables and database name one release. The first questions are asked at once: a phrase, one more, a combination. Then
`verified` is watched until all bytes are checked. ``--cold`` drops the page cache before each start (as root). Processor time
tells what a start costs where the machine has other work, too.
"""

from __future__ import annotations

import argparse
import os
import platform
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np

_PATIENCE_S = 180.0
_QUESTIONS = ("/v1/search?q=cardiomyopathy", "/v1/search?q=liver+cirrhosis", "/v1/search?q=heart+failure&minus=liver")


def start(home: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start the service; return the process and its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"GEO_ATLAS_HOME": str(home.resolve()), "GEO_ATLAS_API_PORT": str(port)}
    child = subprocess.Popen([sys.executable, "-m", "cli.children", "api"], env=environment, stderr=subprocess.DEVNULL)
    return child, f"http://127.0.0.1:{port}"


def measure(home: Path) -> dict[str, float]:
    """Start once, wait, ask, stop; return seconds, shares and bytes."""
    began = time.perf_counter()
    child, url = start(home)
    try:
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as http:
            first = wait_until_ready(http, began)
            found = {"ready, s": time.perf_counter() - began, "processor time until ready, s": processor_s(child.pid)}
            found["checked when ready, %"] = 100 * first["verified"]
            for number, question in enumerate(_QUESTIONS, start=1):
                asked = time.perf_counter()
                http.get(question).raise_for_status()
                found[f"question {number}, ms"] = 1_000 * (time.perf_counter() - asked)
            while http.get("/v1/health/ready").json()["verified"] < 1 and time.perf_counter() - began < _PATIENCE_S:
                time.sleep(0.05)
            found["all checked, s"] = time.perf_counter() - began
            time.sleep(2)
            found |= memory(child.pid)
        return found
    finally:
        child.terminate()
        child.wait(60)


def wait_until_ready(http: httpx.Client, began: float) -> dict[str, float]:
    """Return the report of a service that is ready."""
    while time.perf_counter() - began < _PATIENCE_S:
        try:
            report = http.get("/v1/health/ready")
            if report.status_code == 200:
                return dict(report.json())
        except httpx.TransportError:
            pass
        time.sleep(0.02)
    raise TimeoutError("the service does not become ready")


def processor_s(pid: int) -> float:
    """Return the processor time a process has used, all threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> dict[str, float]:
    """Return what a process holds: its own pages, and with them the files it maps."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    kib = {
        line.split(":")[0]: int(line.split()[1]) for line in status if line.startswith(("RssAnon", "VmRSS", "VmHWM"))
    }
    return {
        "own memory, GB": kib["RssAnon"] / 1e6,
        "with mapped files, GB": kib["VmRSS"] / 1e6,
        "largest, GB": kib["VmHWM"] / 1e6,
    }


def main() -> None:
    """Start some times; print medians and ranges."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cold", action="store_true")
    asked = parser.parse_args()
    runs = []
    for _ in range(asked.repeats):
        if asked.cold:
            subprocess.run(["sync"], check=True)
            Path("/proc/sys/vm/drop_caches").write_text("3\n", encoding="utf-8")
        runs.append(measure(asked.home))
    print(f"{asked.repeats} starts, page cache {'cold' if asked.cold else 'warm'}; {os.cpu_count()} processors, ")
    print(f"{platform.machine()}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}\n")
    print("| | median | least | most |\n|---|---:|---:|---:|")
    for name in runs[0]:
        values = np.array([run[name] for run in runs])
        print(f"| {name} | {np.median(values):.2f} | {values.min():.2f} | {values.max():.2f} |")


if __name__ == "__main__":
    main()
