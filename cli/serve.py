"""Start the API, the pages and the worker, wait until those that answer do, and end everything that was started.

Each service is a child in its own process group. Ctrl-C, SIGTERM or a child that dies ends all of them: first politely,
after a grace by force. The worker alone is started again when it dies: questions are answered without it. A parent that is
killed cannot end its children; they notice (``cli.children``).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import typer
from pydantic import SecretStr

import atlas
from atlas.errors import ConfigError, NotFoundError, ResourceError
from atlas.release import Home
from atlas.settings import Settings
from cli.children import GRACE_S, WITH_PARENT

_POLL_S = 0.2
_STEADY_S = 60.0  # a worker that lived so long was well: its next end is a new story
_LONGEST_PAUSE_S = 60.0
_PRIVATE = ("GEO_ATLAS_DATABASE_URL", "GEO_ATLAS_LLM_API_KEY", "OPENAI_API_KEY")


@dataclass(frozen=True)
class Service:
    """One process to start: its name, where people find it and the address that answers once it is up."""

    name: str
    title: str
    url: str
    probe: str
    environment: dict[str, str]
    wait_s: float


@dataclass
class _Child:
    service: Service
    process: subprocess.Popen[str]
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=20))
    started_at: float = field(default_factory=time.monotonic)


def serve(settings: Settings, *, open_ui: bool = True, open_api: bool = True, open_worker: bool = False) -> None:
    """Serve until Ctrl-C or SIGTERM; on return nothing that was started is left.

    Parameters
    ----------
    settings
        Ports, hosts, home, database. Port 0 takes any free port.
    open_ui, open_api, open_worker
        Which of the three to start.

    Raises
    ------
    ResourceError
        If a port is taken, or a service ends or does not answer in time.
    """
    services = plan_services(settings, open_ui=open_ui, open_api=open_api)
    if open_api:
        _remark_empty_home(settings)
    children: list[_Child] = []
    worker = _Worker(_environment(settings)) if open_worker else None
    with stop_signals() as stop:
        try:
            for service in services:
                children.append(_start(service))
            for child in children:
                _wait_until_up(child, children, stop)
            if not stop.is_set():
                _announce(services)
            while not stop.wait(_POLL_S):
                _raise_if_dead(children)
                if worker is not None:
                    worker.keep()
        finally:
            _end([*children, *(worker.children if worker else ())])


class _Worker:
    """The worker: begun once the others answer, begun again after each end, ever more slowly while it does not stay."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._service = Service("work", "worker", "", "", environment, 0.0)
        self._pause_s = 0.0
        self._due = 0.0
        self.children: list[_Child] = []

    def keep(self) -> None:
        """Begin it if it does not run and its time has come."""
        now = time.monotonic()
        if self.children and self.children[0].process.poll() is not None:
            child = self.children.pop()
            _end([child])
            steady = now - child.started_at >= _STEADY_S
            self._pause_s = 1.0 if steady else min(max(1.0, 2 * self._pause_s), _LONGEST_PAUSE_S)
            self._due = now + self._pause_s
            typer.echo(
                f"The worker ended by itself (exit status {child.process.returncode}) and is started again in "
                f"{self._pause_s:.0f} s; its job goes on. Its last words: {_last_words(child)}",
                err=True,
            )
        if not self.children and now >= self._due:
            self.children.append(_start(self._service))


def _remark_empty_home(settings: Settings) -> None:
    """Say that nothing can be answered yet; a service may well be started before its first release is built."""
    try:
        Home(settings.home_path).current()
    except NotFoundError as error:
        typer.echo(
            f"{error.message} Served all the same: questions are answered once a release is published.", err=True
        )


def plan_services(settings: Settings, *, open_ui: bool = True, open_api: bool = True) -> list[Service]:
    """Choose the ports and say what is to be started; raises ``ResourceError`` if a port is taken."""
    services: list[Service] = []
    environment = _environment(settings)
    api_url = settings.api_url
    if open_api:
        port = _free_port(settings.api_host, settings.api_port, name="api")
        url = _url(settings.api_host, port)
        api_url = api_url or url
        wait_s = 120.0 + settings.database_start_timeout_s
        api = environment | {"GEO_ATLAS_API_PORT": str(port)}
        services.append(Service("api", "REST API", f"{url}/docs", f"{url}/v1/health/live", api, wait_s))
    if open_ui:
        port = _free_port(settings.ui_host, settings.ui_port, name="ui")
        url = _url(settings.ui_host, port)
        ui = {key: value for key, value in environment.items() if key not in _PRIVATE}  # the pages need no secret
        ui |= {
            "GEO_ATLAS_API_URL": api_url or _url(settings.api_host, settings.api_port),
            "GEO_ATLAS_UI_HOST": settings.ui_host,
            "GEO_ATLAS_UI_PORT": str(port),
        }
        services.append(Service("ui", "Atlas pages", url, f"{url}/_stcore/health", ui, 120.0))
    return services


def _environment(settings: Settings) -> dict[str, str]:
    """Return this process' environment with every setting spelled out, so children see flags and file alike."""
    environment = dict(os.environ)
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if value is None:
            environment.pop(f"GEO_ATLAS_{name.upper()}", None)
        else:
            environment[f"GEO_ATLAS_{name.upper()}"] = str(
                value.get_secret_value() if isinstance(value, SecretStr) else value
            )
    environment["GEO_ATLAS_HOME"] = str(settings.home_path)
    # Never the current folder (an empty entry means it); a checkout that is not installed finds its own rooms.
    paths = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if os.path.isabs(path)]
    root = Path(atlas.__file__).resolve().parent.parent
    if (root / "pyproject.toml").is_file() and str(root) not in paths:
        paths.insert(0, str(root))
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    return environment


def _free_port(host: str, port: int, *, name: str) -> int:
    setting = f"--{name}-port (GEO_ATLAS_{name.upper()}_PORT)"
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise ConfigError(
            f"{host!r} is no address of this machine: {error.strerror}. Correct GEO_ATLAS_{name.upper()}_HOST."
        ) from error
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise ResourceError(
                f"Port {port} on {host} cannot be used: {error.strerror}. Stop what uses it, or choose another one with "
                f"{setting}; 0 takes any free port.",
                details={"host": host, "port": port, "service": name},
            ) from error
        return int(probe.getsockname()[1])


def _url(host: str, port: int) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104 # shown, not bound
    return f"http://{shown}:{port}"


def _start(service: Service) -> _Child:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "cli.children", service.name, WITH_PARENT],
        stdin=subprocess.PIPE,  # held open for our lifetime: its end tells the child that we are gone
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=service.environment,
        start_new_session=True,
    )
    child = _Child(service, process)
    threading.Thread(target=_forward, args=(child,), name=f"{service.name}-output", daemon=True).start()
    return child


def _forward(child: _Child) -> None:
    """Pass a child's output on to stderr (stdout carries our answers alone) and remember its last lines."""
    for line in child.process.stdout or ():
        if line.strip():
            child.tail.append(line.rstrip())
            is_json = line.startswith("{")  # structured lines name their service themselves
            typer.echo(line.rstrip() if is_json else f"{child.service.name}: {line.rstrip()}", err=True)


def _wait_until_up(child: _Child, children: Sequence[_Child], stop: threading.Event) -> None:
    import httpx

    deadline = time.monotonic() + child.service.wait_s
    with httpx.Client(trust_env=False, timeout=5.0) as client:  # a proxy has no business between two local processes
        while not stop.is_set():
            _raise_if_dead(children)
            with suppress(httpx.TransportError):
                if client.get(child.service.probe).status_code == 200:
                    return
            if time.monotonic() > deadline:
                raise ResourceError(
                    f"The {child.service.title} did not answer at {child.service.probe} within "
                    f"{child.service.wait_s:.0f} s. Its last words: {_last_words(child)}"
                )
            stop.wait(_POLL_S)


def _raise_if_dead(children: Sequence[_Child]) -> None:
    for child in children:
        status = child.process.poll()
        if status is not None:
            time.sleep(_POLL_S)  # its last lines are still on their way
            raise ResourceError(
                f"The {child.service.title} ended by itself (exit status {status}), so everything was stopped. "
                f"Its last words: {_last_words(child)}",
                details={"service": child.service.name, "status": status},
            )


def _last_words(child: _Child) -> str:
    return child.tail[-1] if child.tail else "none."


def _announce(services: Sequence[Service]) -> None:
    width = max(len(service.title) for service in services)
    for service in reversed(services):
        typer.echo(f"{service.title:<{width}}  {service.url}")
    typer.echo("Ctrl-C ends it.", err=True)
    sys.stdout.flush()


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """Turn SIGINT, SIGTERM and SIGHUP into an event for as long as the block runs."""
    stop = threading.Event()
    watched = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in watched}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(children: Sequence[_Child]) -> None:
    """End every child and its process group: SIGTERM, a grace, SIGKILL."""
    for child in reversed(children):
        _signal_group(child, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    for child in children:
        with suppress(subprocess.TimeoutExpired):
            child.process.wait(max(0.1, deadline - time.monotonic()))
        _signal_group(child, signal.SIGKILL)
        child.process.wait()
        if child.process.stdin:
            child.process.stdin.close()


def _signal_group(child: _Child, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # PermissionError: macOS, where the group holds only zombies
        os.killpg(child.process.pid, number)
