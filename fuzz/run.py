"""Run one target under atheris: python -m fuzz.run TARGET FOLDER SECONDS. Exit 1 on an exception, a time-out or too much memory.

FOLDER keeps the inputs that reached new code, and a later run continues from them. A finding is written beside it and its
path printed.
"""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import atheris

#: Limits of one input: seconds it may take, megabytes above what the libraries need, bytes of its length.
MAX_INPUT_SECONDS, MAX_EXTRA_MEGABYTES, MAX_INPUT_BYTES = 10, 256, 65_536

with atheris.instrument_imports(include=["ingest", "mailparser", "inscriptis", "openpyxl", "email"]):
    import ingest.parsers
    from fuzz.targets import TARGETS, read_seeds

    # Only modules imported here are instrumented. "worker" is the process around the parsers and is not fuzzed.
    for _module in walk_packages(ingest.parsers.__path__, "ingest.parsers."):
        if _module.name != "ingest.parsers.worker":
            import_module(_module.name)


def _measure_memory() -> int:
    """Return the megabytes of memory that this process uses now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 // 1_048_576


def main() -> None:
    """Write the seeds, then fuzz the target for the given time."""
    name, folder, seconds = sys.argv[1:4]
    target, _ = TARGETS[name]
    inputs = Path(folder) / name
    inputs.mkdir(parents=True, exist_ok=True)
    for seed, data in read_seeds(name, MAX_INPUT_BYTES):
        (inputs / f"seed-{seed}").write_bytes(data)
    logging.disable(logging.CRITICAL)
    options = [
        f"-max_total_time={seconds}", f"-timeout={MAX_INPUT_SECONDS}", f"-max_len={MAX_INPUT_BYTES}",
        f"-rss_limit_mb={_measure_memory() + MAX_EXTRA_MEGABYTES}",
        f"-artifact_prefix={folder}/{name}-", "-print_final_stats=1", "-verbosity=0",
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, str(inputs)], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
