"""One bit flipped in each file of a release: who notices, and by what name.

Run: python -m benchmarks.faults.flipped_bit --home HOME [--release NAME] [--file RELATIVE ...]

A bit is flipped in the middle of a file, `geo-atlas release verify` is asked, then the release is opened and asked a phrase;
the bit is flipped back after each. Both must refuse, and name the file. Opening checks small files at once; of large ones each
block before it is used, so a question that needs no byte near the flip may still be answered: that is said.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from atlas.release import Home, Release

FILES = ("vectors.npy", "index/index.faiss", "codes/rows.npy", "gene_weights.npy", "model/model.safetensors")
CLI = (sys.executable, "-c", "from cli.main import main; main()")


@contextmanager
def flipped(path: Path) -> Iterator[None]:
    """Flip one bit in the middle of a file, and back."""
    _flip(path)
    try:
        yield
    finally:
        _flip(path)


def _flip(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))


def asked(*words: str) -> tuple[int, str]:
    """Return exit code and last words of a command."""
    done = subprocess.run([*CLI, *words], capture_output=True, text=True)
    return done.returncode, " ".join((done.stderr.strip() or done.stdout.strip()).split())[-400:]


def main() -> None:
    """Print a table; the exit code says whether every flip was found by name by ``release verify``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--release")
    parser.add_argument("--file", action="append")
    options = parser.parse_args()
    home = options.home.absolute()
    release = Release.open(Home(home), options.release)
    found = True
    print("| file | asked | exit code | file named | what it said |\n|---|---|---|---|---|")
    there = [name for name in FILES if (release.folder / name).is_file()]  # small releases have no codes
    for name in options.file or there:
        with flipped(release.folder / name):
            for words in (("release", "verify", release.name), ("search", "heart")):
                code, said = asked(*words, "--home", str(home))
                named = name in said
                found &= words[0] == "search" or (code != 0 and named)
                print(
                    f"| {name} | {' '.join(words[:2])} | {code} | {'yes' if named else 'no'} | {said if code else 'an answer'} |",
                    flush=True,
                )
    code, said = asked("release", "verify", release.name, "--home", str(home))
    print(f"\nAll flipped back: `release verify` ends with {code}: {said}")
    sys.exit(0 if found and code == 0 else 1)


if __name__ == "__main__":
    main()
