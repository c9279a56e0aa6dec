"""What dictionaries come to over all rows: walked in chunks, of whose codes entries are kept."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from math import inf
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from sksae.engine.activations import ACTIVATIONS
from sksae.engine.activity import sparsity_of_norms
from sksae.engine.batches import Batch, Rows
from sksae.engine.chunk_plan import chunks_of
from sksae.engine.codes.code import Active
from sksae.engine.device import to_float64
from sksae.engine.evaluation import Evaluation, EvaluationSums, WalkedEvaluation
from sksae.engine.exact.bags import Readings
from sksae.engine.exact.passes import Encoding, Passage, fixed_bounds, selections_of
from sksae.engine.exact.threshold import LargestOfAll
from sksae.engine.full_batch import FullObjective
from sksae.engine.losses import Loss, compares_numbers
from sksae.engine.noise import Corruption
from sksae.engine.parameters import Parameters
from sksae.engine.portions import Portions
from sksae.engine.threads import Crew, n_parts
from sksae.model.codes import CODES
from sksae.model.settings import Penalties
from sksae.model.slices import equal_slices

T = TypeVar("T")

# On the CPU a chunk has about so many rows at most: it is to be found in the cache of its core.
MOST_CHUNK_ROWS = 512


# What a code keeps of a chunk, given its pre-activations, portion by portion, the weights of these,
# and how many rows it has.
FindBounds = Callable[[Iterable[Tensor], list[Tensor | None], int], np.ndarray | None]


class _Encoded(NamedTuple):
    """Some rows of a walk: themselves, their room, and what is known of them in it."""

    batch: Batch
    passage: Passage
    pre: Tensor
    bounds: np.ndarray | None


class _Lane:
    """The rows that one member of the crew walks over, in chunks, and its room for each length.

    Parameters
    ----------
    rows : Rows
        All of them.
    chunks : list of slice
        Its own.
    portions : Portions
        How many rows of a chunk are processed at once.
    make_passage : callable
        Returns room for so many rows.
    """

    def __init__(
        self,
        rows: Rows,
        chunks: list[slice],
        portions: Portions,
        make_passage: Callable[[int], Passage],
    ) -> None:
        self._rows, self._chunks, self._portions = rows, chunks, portions
        lengths = {own.stop - own.start for chunk in chunks for own in self._cut(chunk)}
        self._passages = {length: make_passage(length) for length in lengths}

    def _cut(self, chunk: slice) -> list[slice]:
        return self._portions.cut(slice(0, chunk.stop - chunk.start))

    def walk(
        self, corruption: Corruption | None = None, find_bounds: FindBounds | None = None
    ) -> Iterator[_Encoded]:
        """Yield the rows of each portion of each chunk."""
        if corruption is not None:
            corruption.begin(0)
        for chunk in self._chunks:
            batch = self._rows.batch(chunk)
            if corruption is not None:
                batch = corruption(batch)
            portions = [batch.some(own) for own in self._cut(chunk)]
            passages = [self._passages[portion.rows.shape[1]] for portion in portions]
            encoders = [
                partial(passage.encode, portion.rows)
                for passage, portion in zip(passages, portions, strict=True)
            ]
            bounds, known = None, [encoders[0]()] if len(encoders) == 1 else None
            if find_bounds is not None:
                weights = [portion.weight for portion in portions]
                bounds = find_bounds(known or Encoding(encoders), weights, batch.rows.shape[1])
            for at, portion in enumerate(portions):
                pre = encoders[at]() if known is None else known[at]
                yield _Encoded(portion, passages[at], pre, bounds)


class ExactEvaluation(WalkedEvaluation):
    """What dictionaries come to over all rows.

    Parameters
    ----------
    penalties : Penalties
        The terms of J.
    parameters : Parameters
        The dictionaries.
    rows : Rows
        All of them.
    loss : Loss
        Of the output.
    corruption : Corruption, optional
        Noise that rows have in `activity`. To `evaluate` they are shown as they are.
    crew : Crew, optional
        Who walks.
    """

    def __init__(
        self,
        penalties: Penalties,
        parameters: Parameters,
        rows: Rows,
        loss: Loss,
        *,
        corruption: Corruption | None = None,
        crew: Crew | None = None,
    ) -> None:
        super().__init__(penalties, parameters, loss, rows, crew)
        selections = selections_of(parameters)
        self._corruption = corruption
        self._n_active = [selection.n_active for selection in selections]
        self._fixed_bounds = fixed_bounds(selections)
        architecture = parameters.architecture
        self._readings = Readings(selections)
        # A code that selects by the batch then goes by them.
        self._finds_thresholds = (
            CODES[selections[0].code].selects_by_batch and self._fixed_bounds is None
        )
        self._activation = ACTIVATIONS[architecture.activations[-1]]
        self._planned: list[_Lane] | None = None

    @property
    def _lanes(self) -> list[_Lane]:
        if self._planned is None:
            parameters, rows = self.parameters, self._rows
            # Noise is drawn row after row, by one member.
            most_members = self._crew.n_members if self._corruption is None else 1
            work = 1.0 * rows.n_rows * len(parameters.flat)
            self._planned = [
                _Lane(
                    rows.reader(),
                    chunks_of(parameters, own, MOST_CHUNK_ROWS),
                    self._portions,
                    lambda n_rows: Passage(parameters, n_rows, self._readings),
                )
                for own in equal_slices(rows.n_rows, n_parts(work, rows.n_rows, most_members))
            ]
        return self._planned

    def _longest_chunk(self) -> int:
        chunks = chunks_of(self.parameters, slice(0, self._rows.n_rows), MOST_CHUNK_ROWS)
        return max(chunk.stop - chunk.start for chunk in chunks)

    def _let_go_of_buffers(self) -> None:
        self._planned = None

    def _each(self, function: Callable[[_Lane], T]) -> list[T]:
        """Call a function for each lane, side by side."""
        return self._in_portions(
            lambda: self._crew.run([partial(function, lane) for lane in self._lanes])
        )

    def evaluate(self) -> Evaluation:
        self._bounds = self.thresholds() if self._finds_thresholds else self._fixed_bounds
        found = super().evaluate()
        if not self._finds_thresholds:
            return found
        return found._replace(thresholds=torch.from_numpy(self._bounds))

    def activity(self) -> Tensor:
        def count(lane: _Lane) -> Tensor:
            total = self._zero_loss()
            for batch, passage, pre, bounds in lane.walk(self._corruption, self._find_bounds):
                active = passage.choose(self._terms.code, bounds)
                row_weights = to_float64(self._row_weights(batch, pre.shape[1])).view(-1)
                models, rows = active.units // pre.shape[2], active.rows % pre.shape[1]
                counted = row_weights[rows.long()] * (active.values > 0.0)
                total.index_add_(0, models, counted)
            return total

        self._bounds = self._fixed_bounds
        found = self._each(count)
        return self._total(found) / self.parameters.architecture.n_components

    def thresholds(self) -> np.ndarray:
        """Return above which pre-activation k units are kept on average, of shape (n_models,)."""
        n_rows, processes = self._rows.n_of_all, self._rows.processes

        def find(lane: _Lane) -> list[LargestOfAll]:
            # Weights are relative to their mean.
            largest = [LargestOfAll(float(n_active * n_rows)) for n_active in self._n_active]
            for batch, _, pre, _ in lane.walk():
                for own, of_model in zip(largest, pre, strict=True):
                    above = of_model > own.bound
                    weights = None
                    if batch.weight is not None:
                        of_entries = batch.weight[0].expand(of_model.shape)[above]
                        weights = to_float64(of_entries).cpu().numpy()
                    own.add(of_model[above].cpu().numpy(), weights)
            return largest

        lanes = self._each(find)
        for other in lanes[1:]:
            for own, of_other in zip(lanes[0], other, strict=True):
                own.merge(of_other)
        if processes.are_several:
            lanes[0] = [own.joined(processes, has_any=self._rows.has_any) for own in lanes[0]]
        return np.array([own.threshold() for own in lanes[0]])

    def _walks(self, *, is_whole: bool) -> list[tuple[EvaluationSums, Iterator[bool]]]:
        if not is_whole:
            # Each chunk then stands for all rows: a walk to find the threshold takes as long.
            self._bounds = self._fixed_bounds
        found = [UnitSums(self._new_sums()) for _ in self._lanes]
        return [
            (own.sums, self._sum_up(lane, own))
            for lane, own in zip(self._lanes, found, strict=True)
        ]

    def _sum_up(self, lane: _Lane, found: "UnitSums") -> Iterator[bool]:
        """Add what each chunk of a lane comes to, and yield True after each."""
        terms, sums = self._terms, found.sums
        loss = terms.loss
        assert compares_numbers(loss)
        for batch, passage, pre, bounds in lane.walk(find_bounds=self._find_bounds):
            chosen = passage.choose(terms.code, bounds)
            active, bags, output = passage.decode(chosen)
            row_values = self._compare(output, batch)
            row_weights = self._row_weights(batch, pre.shape[1])
            counted = to_float64(row_weights[..., 0])
            if sums.errors is not None:
                sums.errors.add(row_weights, batch, row_values[..., -1], output[:, :, -1])
            values = loss.values(to_float64(loss.mean_over_readings(row_values)))
            if active.gates is not None:
                made = passage.rebuild_from_gates(active, bags)
                of_gates = self._compare(made, batch)[..., 0]
                values = values + loss.values(to_float64(of_gates))
            of_entries = terms.code.entry_penalty(active)
            if of_entries is not None:
                penalty = passage.by_row(active, to_float64(of_entries))
                penalty = self._wide.beta[:, 0] * penalty
                values = values + penalty
                sums.row_penalty += (penalty * counted).sum(dim=-1)
            sums.loss += (values * counted).sum(dim=-1)
            found.add(active, row_weights, pre.shape[1])
            sums.row_sparsity += self._row_sparsity(passage, active) @ counted[0]
            yield True

    def _row_sparsity(self, passage: Passage, active: Active) -> Tensor:
        """Return Hoyer's sparsity of each row, (n_models, n_rows), float64, by its entries."""
        values = to_float64(active.values.abs())
        l1, square = passage.by_row(active, values), passage.by_row(active, values.square())
        return sparsity_of_norms(l1, square, self.parameters.architecture.n_components)

    def _find_bounds(
        self, pre: Iterable[Tensor], weights: list[Tensor | None], n_rows: int
    ) -> np.ndarray | None:
        if self._bounds is not None:
            return self._bounds
        given = [float(weight.sum()) for weight in weights if weight is not None]
        return self._terms.code.bound(
            lambda work: work(zip(pre, weights, strict=True)),
            sum(given) if given else n_rows,
            self._n_active,
            np.zeros(self.parameters.n_models),
        )

    def _row_weights(self, batch: Batch, n_rows: int) -> Tensor:
        """Return what each row of a chunk counts in a mean over all, (1, n_rows, 1)."""
        weights = batch.rows.new_full((1, n_rows, 1), 1.0 / self._rows.n_of_all)
        return weights if batch.weight is None else weights * batch.weight

    def _compare(self, output: Tensor, batch: Batch) -> Tensor:
        """Return what the loss of each row and reading is made of.

        Its derivative is written over ``output``.
        """
        self._activation.forward(output, output, {})
        return self._terms.loss(output, batch.target.unsqueeze(2), output, -1)


def make_evaluation(
    penalties: Penalties,
    parameters: Parameters,
    rows: Rows,
    loss: Loss,
    *,
    corruption: Corruption | None,
    crew: Crew,
    read_as: str | None = None,
) -> WalkedEvaluation:
    """Return what tells what networks come to over all rows.

    Parameters
    ----------
    penalties, parameters, rows, loss, corruption, crew, read_as
        As in `ExactEvaluation` and `FullObjective`.
    """
    if parameters.architecture.is_dictionary:
        return ExactEvaluation(penalties, parameters, rows, loss, corruption=corruption, crew=crew)
    return FullObjective(
        penalties,
        parameters,
        rows,
        loss,
        corruption=corruption,
        with_gradient=False,
        crew=crew,
        read_as=read_as,
    )


class UnitSums:
    """What is summed up for each unit, by entries.

    Parameters
    ----------
    sums : EvaluationSums
        Written to.
    """

    def __init__(self, sums: EvaluationSums) -> None:
        self.sums = sums

    def add(self, active: Active, row_weights: Tensor, n_rows: int) -> None:
        """Take up the codes of some rows.

        Parameters
        ----------
        active : Active
            Their entries.
        row_weights : Tensor of shape (1, n_rows, 1)
            What each row counts.
        n_rows : int
            How many there are.
        """
        sums, units = self.sums, active.units.long()
        rows = active.rows % n_rows if len(sums.mean_code) > 1 else active.rows
        counted = to_float64(row_weights.view(-1)[rows.long()])
        total, values = sums.mean_code.view(-1), active.values
        where = units.to(total.device)
        total.index_add_(0, where, to_float64(values) * counted)
        # What is kept may be 0.
        sums.active_share.view(-1).index_add_(0, where, to_float64(values > 0.0) * counted)
        # A unit that is not kept in some row is 0 there.
        in_all = torch.bincount(units, minlength=len(total)) == n_rows
        least = torch.where(in_all, inf, 0.0).to(values)
        least.scatter_reduce_(0, units[in_all[units]], values[in_all[units]], "amin")
        most = torch.where(in_all, -inf, 0.0).to(values)
        most.scatter_reduce_(0, units, values, "amax")
        for known, of_rows, pick in (
            (sums.lowest, least, torch.minimum),
            (sums.highest, most, torch.maximum),
        ):
            pick(known, of_rows.view_as(known), out=known)
