"""A small tmpfs that can be filled to the last byte and emptied again."""

import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from tests.servers.process import find_program

_BLOCK = 64 * 1024


@cache
def find_mount() -> str | None:
    """Return the path of `mount` if this account may mount a tmpfs (one is mounted to find out), else None."""
    program = find_program("mount")
    if program is None or os.geteuid() != 0:
        return None
    with tempfile.TemporaryDirectory() as folder:
        if subprocess.run([program, "-t", "tmpfs", "tmpfs", folder], capture_output=True, check=False).returncode:
            return None
        subprocess.run(["umount", folder], check=True)
    return program


class SmallDisk:
    """A context manager: a tmpfs of a few megabytes at `folder`."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder = folder
        self._size = f"size={megabytes}m"
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Fill the disk, also while other programs write to it."""
        with self._ballast.open("ab", buffering=0) as file:
            for size in (_BLOCK, 1):
                try:
                    while file.write(bytes(size)):
                        pass
                except OSError:
                    continue

    def clear(self) -> None:
        """Remove the file that fills the disk."""
        self._ballast.unlink(missing_ok=True)

    def __enter__(self) -> "SmallDisk":
        self.folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"{self._size},mode=755", "tmpfs", str(self.folder)], check=True)
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)
