"""Read a stranger's h5ad file in a process of its own.

The HDF5 library can crash on a file that was damaged on purpose, and a crash would take the whole service along. The bytes go
to the child by a pipe and the values come back by one; nothing touches a disk. The child has a time limit and, where the system
offers one, a memory limit.

Protocol: one JSON line and raw bytes each way; in: name, unit, limits + the file; out: names, unit, shape + (n_samples, n_genes)
little-endian float32, or an error.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

import atlas
from atlas.errors import InputError, TooLargeError
from atlas.expression.limits import Limits
from atlas.expression.matrix import ExpressionMatrix, build_matrix
from atlas.expression.units import Unit

_TIMEOUT_S = 120.0
_LIBRARY_BYTES = 2 << 30  # address space of interpreter and libraries
_MODULE = ("-P", "-m", "atlas.expression.isolated")  # -P: the current folder is no place to import from


def read_h5ad_isolated(raw: bytes, *, name: str, unit: Unit | None, limits: Limits) -> ExpressionMatrix:
    """Return the samples of an h5ad file, read by a child process.

    Parameters
    ----------
    raw
        Bytes of the file.
    name
        Name for messages.
    unit
        Declared unit; ``None``: counts, which is checked.
    limits
        Bounds, applied before anything is read.

    Raises
    ------
    InputError
        If the file is not what it should be, crashes its reader, or takes too long.
    TooLargeError
        If it exceeds the limits.
    """
    request = {"name": name, "unit": unit, "limits": [limits.max_bytes, limits.max_expanded_bytes, limits.max_samples]}
    try:
        child = subprocess.run(
            [sys.executable, *_MODULE],
            input=json.dumps(request).encode() + b"\n" + raw,
            capture_output=True,
            timeout=_TIMEOUT_S,
            env=child_environment(),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{name} took longer than {_TIMEOUT_S:g} seconds to read. Send fewer samples.") from error
    if child.returncode != 0:
        raise InputError(
            f"{name} cannot be read: the HDF5 library gave up on it. "
            "The file is damaged; write it again with anndata 0.8 or newer."
        )
    return _unpack(child.stdout)


def child_environment() -> dict[str, str]:
    """Return the environment in which a child finds this package, wherever it was imported from, and keeps to one thread."""
    root = str(Path(atlas.__file__).resolve().parent.parent)
    inherited = os.environ.get("PYTHONPATH")
    paths = os.pathsep.join([root, *([inherited] if inherited else [])])
    return {**os.environ, "PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def _unpack(reply: bytes) -> ExpressionMatrix:
    head, _, body = reply.partition(b"\n")
    answer: dict[str, Any] = json.loads(head)
    if "error" in answer:
        kind = TooLargeError if answer["error"] == TooLargeError.code else InputError
        raise kind(answer["message"], details=answer["details"])
    return build_matrix(
        np.frombuffer(body, dtype="<f4").reshape(answer["shape"]),
        genes=answer["genes"],
        sample_ids=answer["sample_ids"],
        unit=Unit(answer["unit"]),
        symbols=answer["symbols"],
    )


def _serve(stdin: BinaryIO, stdout: BinaryIO) -> None:
    """Answer one request; runs in the child."""
    from atlas.expression.h5ad import H5adSource

    request = json.loads(stdin.readline())
    limits = Limits(*request["limits"])
    unit = None if request["unit"] is None else Unit(request["unit"])
    # No more than an honest file within the limits needs.
    bound_memory(_LIBRARY_BYTES + limits.max_bytes + 4 * limits.max_expanded_bytes)
    try:
        with H5adSource(Path(request["name"]), unit=unit, stream=io.BytesIO(stdin.read()), limits=limits) as source:
            blocks = [matrix for _, matrix in source.blocks()]
            if not blocks:
                raise InputError(f"{request['name']} holds no sample.")
            answer: dict[str, Any] = {
                "genes": source.genes,
                "symbols": source.symbols,
                "sample_ids": source.sample_ids,
                "unit": blocks[0].units[0],
                "shape": [source.n_samples, len(source.genes)],
            }
            values = np.concatenate([block.values for block in blocks]).astype("<f4").tobytes()
    except InputError as error:
        answer, values = {"error": error.code, "message": error.message, "details": error.details}, b""
    stdout.write(json.dumps(answer).encode() + b"\n")
    stdout.write(values)
    stdout.flush()


def bound_memory(most: int) -> None:
    """Let this process take at most ``most`` bytes of address space, where the system offers such a limit."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    except (ImportError, ValueError, OSError):  # not offered here: the declared sizes are checked all the same
        return


if __name__ == "__main__":
    _serve(sys.stdin.buffer, sys.stdout.buffer)
