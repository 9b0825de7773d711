"""Runs one target under atheris: python -m fuzz.run TARGET FOLDER SECONDS. Exit 1 on an exception, a time-out or memory.

FOLDER keeps the inputs that reached new code; a later run goes on from them. A finding is written beside it and named.
"""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import atheris

#: Seconds one input may take, megabytes the process may use above what the libraries need, bytes of an input.
MAX_INPUT_SECONDS, MAX_EXTRA_MEGABYTES, MAX_INPUT_BYTES = 10, 256, 65_536

with atheris.instrument_imports(include=["ingest", "mailparser", "inscriptis", "openpyxl", "email"]):
    import ingest.parsers
    from fuzz.targets import TARGETS, read_seeds

    # Loaded here, since only what is loaded here is instrumented. "worker" is the process around them.
    for _module in walk_packages(ingest.parsers.__path__, "ingest.parsers."):
        if _module.name != "ingest.parsers.worker":
            import_module(_module.name)


def _measure_memory() -> int:
    """Megabytes this process has in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 // 1_048_576


def main() -> None:
    name, folder, seconds = sys.argv[1:4]
    target, _ = TARGETS[name]
    inputs = Path(folder) / name
    inputs.mkdir(parents=True, exist_ok=True)
    for seed, data in read_seeds(name, MAX_INPUT_BYTES):
        (inputs / f"seed-{seed}").write_bytes(data)
    logging.disable(logging.CRITICAL)
    options = [
        f"-max_total_time={seconds}",
        f"-timeout={MAX_INPUT_SECONDS}", f"-rss_limit_mb={_measure_memory() + MAX_EXTRA_MEGABYTES}", f"-max_len={MAX_INPUT_BYTES}",
        f"-artifact_prefix={folder}/{name}-", "-print_final_stats=1", "-verbosity=0",
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, str(inputs)], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
