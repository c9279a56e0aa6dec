"""What processes say to each other by the store, and a store that does not answer."""

import json
import time
from datetime import timedelta
from threading import Event

import pytest

from sksae.engine.processes import Meeting
from sksae.engine.store import LostStoreError, Store, within
from sksae.process.processes import ProcessesError


class Written(dict):
    """A store in which another process writes as soon as it was asked for something."""

    def __init__(self, **later):
        super().__init__()
        self.later = {f"sksae/0/{key}/1": json.dumps(value) for key, value in later.items()}

    def set(self, key, value):
        self[key] = value

    def get(self, key):
        return self[key]

    def check(self, keys):
        found = all(key in self for key in keys)
        self.update(self.later)
        return found


def store_of(own):
    store = Store.__new__(Store)
    store._store, store._lost = own, None
    return store


def meeting_of(own, monkeypatch):
    """Return a meeting of two processes, of which this one is the first."""
    for name, value in {"get_rank": 0, "get_world_size": 2}.items():
        monkeypatch.setattr(f"torch.distributed.{name}", lambda value=value: value)
    monkeypatch.setattr("sksae.engine.processes.Store", lambda: store_of(own))
    monkeypatch.setattr("sksae.engine.processes.timeout_of_all", lambda: timedelta(seconds=0.2))
    return Meeting(0)


def test_who_refuses_what_all_have_said_does_not_keep_others_from_seeing_why(monkeypatch):
    own = Written(fit="another", end="ValueError: they differ")
    assert meeting_of(own, monkeypatch).exchanged("fit", "mine") == ["mine", "another"]


def test_who_fails_before_all_have_said_something_is_named(monkeypatch):
    own = Written(end="OSError: disk full")
    with pytest.raises(ProcessesError, match="rank 1, and so on all: OSError: disk full"):
        meeting_of(own, monkeypatch).exchanged("fit", "mine")


def test_who_says_nothing_is_named(monkeypatch):
    with pytest.raises(ProcessesError, match=r"Rank 1 did not begin the same fit within 0\.2 s"):
        meeting_of(Written(), monkeypatch).exchanged("fit", "mine")


def test_a_store_that_does_not_answer_is_waited_for_once():
    never = Event()

    class Silent:
        def check(self, keys):
            never.wait()

    store = store_of(Silent())
    begin = time.monotonic()
    try:
        with pytest.raises(LostStoreError, match=r"cannot be reached.*did not answer for 0\.1 s"):
            store.has(["key"], 0.1)
        with pytest.raises(LostStoreError, match=r"did not answer for 0\.1 s"):
            store.has(["key"], 1000.0)
    finally:
        never.set()
    assert time.monotonic() - begin < 100.0


def test_a_store_that_is_gone_is_said_to_be():
    class Gone:
        def check(self, keys):
            raise RuntimeError("Broken pipe\nand where")

    with pytest.raises(LostStoreError, match=r"Broken pipe$"):
        store_of(Gone()).has(["key"], 5.0)


def test_what_is_done_within_some_time_returns_and_raises_as_ever():
    assert within(5.0, divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        within(5.0, divmod, 7, 0)
