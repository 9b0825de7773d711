"""The garbage collector of a process after it is tuned."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from runtime import process_tuning


class Node:
    """An object that can be part of a cycle."""

    other: "Node"


@pytest.fixture
def restored_thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


@pytest.mark.usefixtures("restored_thresholds")
def test_loaded_objects_are_frozen_and_later_cycles_are_still_collected() -> None:
    process_tuning.tune_garbage_collector()
    assert gc.get_freeze_count() > 0
    assert gc.get_threshold()[0] == process_tuning.GC_THRESHOLD
    node = Node()
    node.other = node
    reference = weakref.ref(node)
    del node
    nodes = [[] for _ in range(2 * process_tuning.GC_THRESHOLD)]
    assert reference() is None
    assert nodes
