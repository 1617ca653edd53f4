"""Time and memory of one full pass over expression files: fields, blocks, alignment, log expression.

Usage: ``python benchmarks/read_counts.py MODEL_DIR FILE [FILE ...]``. Prints one Markdown table row a file.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

from atlas.expression.align import GeneAligner
from atlas.expression.genes import GeneMap
from atlas.expression.log import log_expression
from atlas.expression.source import open_source

_KIB = 1024 if sys.platform != "darwin" else 1  # ru_maxrss is in KiB on Linux, in bytes on macOS


def main(model_dir: Path, files: list[Path]) -> None:
    """Read each file once and print what it took."""
    genes = GeneMap.read(model_dir / "genes.parquet")
    print(
        "| file | samples | genes given | genes of the model covered | seconds | CPU seconds | peak memory of the process, MB |"
    )
    print("|---|---|---|---|---|---|---|")
    for path in files:
        started, cpu_started = time.perf_counter(), time.process_time()
        with open_source(path) as source:
            source.sample_table()
            aligner = GeneAligner(source.genes, source.symbols, genes=genes)
            n_samples = sum(log_expression(aligner.align(matrix)).shape[0] for _, matrix in source.blocks())
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB / 1e6
        coverage = aligner.coverage
        print(
            f"| {path.name} | {n_samples:,} | {coverage.n_given:,} | {coverage.n_covered:,} of {coverage.n_model_genes:,} "
            f"| {seconds:.1f} | {cpu_seconds:.1f} | {peak:.0f} |"
        )


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
