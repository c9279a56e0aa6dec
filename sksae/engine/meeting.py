"""Where processes that fit one model together meet, and tell each other what went wrong.

It is the store of torch.distributed, where each has keys of its own: connections may be gone when
there is something to say, and a process that has died says nothing, which tells who it was.

Who begins a fit joins the round that is open. It is complete when all have joined; one that gives
up before breaks it. So a process that has left out a fit meets the others again at the next one,
however many each of them has begun.
"""

import json
from contextlib import suppress
from time import monotonic, sleep
from typing import Any, NoReturn

import torch.distributed as dist

from sksae.engine.common_store import (
    SECONDS_TO_TELL,
    CommonStore,
    LostStoreError,
    first_line,
    timeout_of_all,
)
from sksae.process.processes import ProcessesError

# How often a process that waits for others looks.
SECONDS_BETWEEN_LOOKS = 0.02
# What a process says that has failed only because another one did.
LEFT = "left"
DONE = "done"
# What is written before those who had joined a round.
BROKEN = "broken:"


class Meeting:
    """Where processes tell each other about one fit."""

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self._store, self.timeout = CommonStore(), timeout_of_all()
        self._description: dict[str, str] | None = None
        # Which rounds are over for a process is known to the store, as a store may be a new one.
        self._n_over = f"sksae/over/{self.rank}"
        self._round = int(self._store.get(self._n_over) or 0)
        self._is_complete = False

    def _key(self, what: str, rank: int) -> str:
        return f"sksae/{self._round}/{what}/{rank}"

    @property
    def _joined(self) -> str:
        """The key of those who have joined the round."""
        return f"sksae/{self._round}"

    def say(self, what: str, value: Any) -> None:
        """Tell the others something that JSON can hold."""
        self._store.set(self._key(what, self.rank), json.dumps(value))

    def heard(self, what: str, rank: int) -> Any:
        """Return what a process has told; None if it has said nothing."""
        said = self._store.get(self._key(what, rank))
        return None if said is None else json.loads(said)

    def begin(self, description: dict[str, str]) -> list[dict[str, str]]:
        """Wait until all begin a fit, and return what it is to each of them.

        Parameters
        ----------
        description : dict of str
            What it is to this process.

        Raises
        ------
        ProcessesError
            If one has failed, or does not come for as long as torch.distributed would wait.
        """
        self._description = description
        self._store.end = end = monotonic() + self.timeout.total_seconds()
        self._join()
        while not self._is_full(joined := self._state()):
            # One that refuses what all have said has said so after the last of them.
            if self._fails_elsewhere() and not self._is_full(self._state()):
                self._leave_round()
            if joined.startswith(BROKEN) or (monotonic() > end and self._break()):
                silent = self._silent_of(self._state())
                self._leave_round(
                    f"{_ranks(silent)} did not begin the same fit within "
                    f"{self.timeout.total_seconds():g} s: each process must call it, in the same "
                    "order as other fits with data_parallel=True."
                )
            sleep(SECONDS_BETWEEN_LOOKS)
        self._is_complete, self._store.end = True, 0.0
        self._go_on()
        return [self.heard("fit", rank) for rank in range(self.size)]

    def _join(self) -> None:
        """Join the first round that is open."""
        joined, wanted = self._offer(), None
        while joined != wanted:
            if joined.startswith(BROKEN) or self._is_full(joined):
                if self._fails_elsewhere():
                    self._leave_round()
                self._go_on()
                self._round += 1
                joined = self._offer()
            there = joined.split(",") if joined else []
            # A fit of this process may have ended without a word, and others still wait.
            wanted = ",".join(there if str(self.rank) in there else [*there, str(self.rank)])
            joined = self._store.swap(self._joined, joined, wanted)

    def _offer(self) -> str:
        """Say what the fit is, before others look for it, and return who has joined the round."""
        self.say("end", None)  # first: it may be the reason why another fit was refused
        self.say("fit", self._description)
        return self._state()

    def _state(self) -> str:
        """Return who has joined the round, as ranks with commas between them."""
        return self._store.get(self._joined) or ""

    def _is_full(self, joined: str) -> bool:
        return not joined.startswith(BROKEN) and len(joined.split(",")) == self.size

    def _silent_of(self, joined: str) -> list[int]:
        """Return the processes that have not joined."""
        there = joined.removeprefix(BROKEN).split(",")
        return [rank for rank in range(self.size) if str(rank) not in there]

    def _break(self) -> bool:
        """Let the round never be complete; return False if it is."""
        joined = self._state()
        while not joined.startswith(BROKEN):
            if self._is_full(joined):
                return False
            joined = self._store.swap(self._joined, joined, BROKEN + joined)
        return True

    def _go_on(self) -> None:
        """Let the next fit look for another round."""
        self._store.set(self._n_over, str(self._round + 1))

    def _fails_elsewhere(self) -> bool:
        """Return whether a process has said why this fit failed, or one not described."""
        return any(
            rank != self.rank and self.heard("fit", rank) in (None, self._description)
            for rank in self.reasons()
        )

    def _leave_round(self, otherwise: str = "") -> NoReturn:
        """Break the round, and raise why others have failed, or else what is said here."""
        self._break()
        self._go_on()
        reasons = {rank: each for rank, each in self.reasons().items() if rank != self.rank}
        with suppress(Exception):
            self.say("end", LEFT)
        raise ProcessesError(_all_said(reasons) or otherwise)

    def tell(self, error: BaseException) -> None:
        """Tell the others why this process fails, unless it does so as another one has failed."""
        if not isinstance(error, ProcessesError):
            kind, text = type(error).__name__, first_line(error)
            with suppress(Exception):
                self.say("end", f"{kind}: {text}" if text else kind)
                if not self._is_complete:
                    self._break()
                    self._go_on()

    def reasons(self) -> dict[int, str]:
        """Return why processes have failed, those that say so."""
        said = {rank: self.heard("end", rank) for rank in range(self.size)}
        return {rank: each for rank, each in said.items() if each not in (None, LEFT, DONE)}

    def part(self) -> None:
        """Wait until all are done, for a while: none closes connections that others still use."""
        with suppress(Exception):
            self.say("end", DONE)
            end = monotonic() + SECONDS_TO_TELL
            while self._silent("end") and monotonic() < end:
                sleep(SECONDS_BETWEEN_LOOKS / 10.0)

    def _silent(self, what: str) -> list[int]:
        """Return the processes that have not told something."""
        return [rank for rank in range(self.size) if self.heard(what, rank) is None]

    def explained(self, lost: str) -> ProcessesError:
        """Return what became of the others, where talking to them failed by this error."""
        try:
            self.say("end", LEFT)
            end = monotonic() + SECONDS_TO_TELL
            while True:
                reasons = self.reasons()
                silent = self._silent("end")
                if reasons or not silent or monotonic() > end:
                    break
                sleep(SECONDS_BETWEEN_LOOKS)
        except LostStoreError as error:
            return error
        if reasons:
            return ProcessesError(_all_said(reasons))
        if silent:
            return ProcessesError(
                f"{_ranks(silent)} ended without a word (killed, say, for its memory), or could "
                f"not be reached in time, and the fit with it: {lost}"
            )
        return ProcessesError(f"The processes have lost each other: {lost}")


def _ranks(ranks: list[int]) -> str:
    return f"Rank {ranks[0]}" if len(ranks) == 1 else f"Ranks {', '.join(map(str, ranks))}"


def _all_said(reasons: dict[int, str]) -> str:
    return "; ".join(
        f"The fit failed on rank {rank}, and so on all: {reason}"
        for rank, reason in sorted(reasons.items())
    )
