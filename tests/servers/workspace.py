"""The temporary folder shared by all servers of a test run, and the removal of folders that killed runs have left."""

import os
import shutil
import tempfile
from pathlib import Path

_PREFIX = "casemill-tests-"


def make_workspace() -> Path:
    """Create a folder that other accounts may enter but not list, and remove the folders of test runs that have ended."""
    base = Path("/tmp") if Path("/tmp").is_dir() else Path(tempfile.gettempdir())  # short: socket paths
    remove_leftovers(base)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=base))
    folder.chmod(0o711)
    return folder


def remove_workspace(folder: Path) -> None:
    """Remove the folder. A process that still writes into it must not fail the tests."""
    shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(base: Path) -> None:
    """Remove the folders whose test process has ended."""
    for folder in base.glob(f"{_PREFIX}*"):
        pid = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and not _alive(int(pid)):
            remove_workspace(folder)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
