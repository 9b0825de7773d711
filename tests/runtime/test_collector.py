"""The garbage collector after a process has said that it is ready."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from runtime import process_tuning


class Node:
    """Something that can be part of a cycle."""

    other: "Node"


@pytest.fixture
def thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


@pytest.mark.usefixtures("thresholds")
def test_what_is_loaded_is_left_alone_and_cycles_made_later_are_still_found() -> None:
    process_tuning.tune_garbage_collector()
    assert gc.get_freeze_count() > 0
    assert gc.get_threshold()[0] == process_tuning.GC_THRESHOLD
    node = Node()
    node.other = node
    gone = weakref.ref(node)
    del node
    nodes = [[] for _ in range(2 * process_tuning.GC_THRESHOLD)]
    assert gone() is None
    assert nodes
