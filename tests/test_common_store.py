"""What processes say to each other by the store, and a store that does not answer."""

import json
import time
from datetime import timedelta
from threading import Event

import pytest

from sksae.engine import common_store, meeting
from sksae.engine.common_store import CommonStore, LostStoreError, within
from sksae.engine.meeting import Meeting
from sksae.process.processes import ProcessesError


class Written(dict):
    """A store in which rank 1 writes as soon as this process has joined and asks for something."""

    def __init__(self, joined="0", **later):
        super().__init__()
        self.later = {
            f"sksae/0/{key}/1": json.dumps(value).encode() for key, value in later.items()
        }
        self.later["sksae/0"] = joined.encode()

    def set(self, key, value):
        self[key] = value.encode()

    def compare_set(self, key, old, new):
        if self.get(key, b"").decode() == old:
            self.set(key, new)
        return self[key]

    def check(self, keys):
        found = all(key in self for key in keys)
        if "sksae/0" in self:
            self.update(self.later)
            self.later = {}
        return found


def store_of(own):
    found = CommonStore.__new__(CommonStore)
    found._store, found._lost, found.end = own, None, 0.0
    return found


def meeting_of(own, monkeypatch):
    """Return a meeting of two processes, of which this one is the first."""
    for name, value in {"get_rank": 0, "get_world_size": 2}.items():
        monkeypatch.setattr(f"torch.distributed.{name}", lambda value=value: value)
    monkeypatch.setattr(meeting, "CommonStore", lambda: store_of(own))
    monkeypatch.setattr(meeting, "timeout_of_all", lambda: timedelta(seconds=0.2))
    return Meeting()


MINE = {"rho": "0.1"}


def test_who_refuses_what_all_have_said_does_not_keep_others_from_seeing_why(monkeypatch):
    own = Written(joined="0,1", fit=MINE, end="ValueError: a third one differs")
    assert meeting_of(own, monkeypatch).begin(MINE) == [MINE, MINE]


def test_who_fails_before_all_have_joined_is_named(monkeypatch):
    own = Written(end="OSError: disk full")
    with pytest.raises(ProcessesError, match="rank 1, and so on all: OSError: disk full"):
        meeting_of(own, monkeypatch).begin(MINE)


def test_who_does_not_come_is_named(monkeypatch):
    with pytest.raises(ProcessesError, match=r"Rank 1 did not begin the same fit within 0\.2 s"):
        meeting_of(Written(), monkeypatch).begin(MINE)


def test_a_store_that_does_not_answer_is_waited_for_once(monkeypatch):
    monkeypatch.setattr(common_store, "SECONDS_TO_TELL", 0.1)
    never = Event()

    class Silent:
        def check(self, keys):
            never.wait()

    found = store_of(Silent())
    begin = time.monotonic()
    try:
        with pytest.raises(LostStoreError, match=r"cannot be reached.*did not answer for 0\.1 s"):
            found.get("key")
        found.end = time.monotonic() + 1000.0
        with pytest.raises(LostStoreError, match=r"did not answer for 0\.1 s"):
            found.get("key")
    finally:
        never.set()
    assert time.monotonic() - begin < 100.0


def test_a_store_that_is_gone_is_said_to_be():
    class Gone:
        def check(self, keys):
            raise RuntimeError("Broken pipe\nand where")

    with pytest.raises(LostStoreError, match=r"Broken pipe$"):
        store_of(Gone()).get("key")


def test_what_is_done_within_some_time_returns_and_raises_as_ever():
    assert within(5.0, divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        within(5.0, divmod, 7, 0)
