"""The trainings of a fit for a task: of the layer on top, then of all layers not frozen."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.callback import CallbackContext

from sksae.base.protocols import Autoencoder
from sksae.base.stages import Stages, task_of
from sksae.model.network import Layer
from sksae.model.numbers import Matrix, kept_dtype
from sksae.model.scaling import Scaling, scaled_deviation
from sksae.model.unrolled import unroll
from sksae.stacking.encoding import encode_through
from sksae.stacking.monitoring import epoch_monitor
from sksae.stacking.pretraining import give_up_if_interrupted
from sksae.stacking.rolling import with_layers
from sksae.training.finetuning import (
    finetune_schedule,
    finetuning_noise,
    plan_layers,
    scaling_of_codes,
    scaling_of_first,
    train_layers,
)
from sksae.training.moments import weighted_moments
from sksae.training.plan import Plan
from sksae.training.seen import Seen
from sksae.training.specification import FinetuningSpecification

if TYPE_CHECKING:
    from sksae.engine.jobs import Schedule
    from sksae.engine.losses import Loss
    from sksae.engine.noise import Dropout
    from sksae.stacking.supervised import SupervisedStack

# The layer on top is trained first, on codes that stay as they are, by L-BFGS until its loss has
# settled: fine-tuning that started from a random one would spoil the codes before it has learnt
# anything (UFLDL, "Stacked Autoencoders"; Kumar et al., ICLR 2022).
TOP_ITERATIONS, TOP_TOL, TOP_PATIENCE = 200, 1e-4, 10
# Where the layers below are trained afterwards it decays by this at least: one that separates the
# rows altogether has no error left from which they could learn.
LEAST_TOP_ALPHA = 1e-4
FINE_TUNING = "fine-tuning"
# What a fit that goes on adds to, or keeps.
CONTINUED = ("loss_curve_", "validation_score_curve_", "n_iter_", "n_steps_", "_alpha_of_none")


@dataclass(frozen=True)
class Wanted:
    """What is to be learnt, in the engine's words.

    Attributes
    ----------
    target : ndarray of shape (n_samples, n_targets)
        Of each row.
    loss : Loss
        Of the output.
    index : ndarray of int
        Rows to learn from.
    weight : ndarray of shape (n_samples,) or None
        What each counts.
    n_outputs : int
        Units of the layer on top.
    attributes : dict
        Fitted attributes that describe the target, and what is known of all pieces of it.
    seen : Seen
        What this piece tells.
    strata : ndarray of shape (n_samples,) or None
        Classes that rows held out shall hold in proportion.
    """

    target: np.ndarray
    loss: "Loss"
    index: np.ndarray
    weight: np.ndarray | None
    n_outputs: int
    attributes: dict[str, Any]
    seen: Seen
    strata: np.ndarray | None = None


class TaskTraining:
    """The trainings of one fit: of the layer on top, then of all layers that are not frozen."""

    def __init__(
        self,
        estimator: "SupervisedStack",
        specification: FinetuningSpecification,
        members: list[Autoencoder],
        wanted: Wanted,
        held_out: np.ndarray | None,
        seed: int,
        context: CallbackContext | None,
        task: dict[str, Any],
        stages: Stages,
    ) -> None:
        self._estimator, self._specification = estimator, specification
        self._members, self._wanted = members, wanted
        self._held_out, self._seed = held_out, seed
        self._context, self._task, self._stages = context, task, stages
        self._networks = [member.__sksae_network__() for member in members]
        self._encoder = unroll(self._networks).without_decoder().layers
        self._n_frozen = check_freeze(estimator.freeze, len(self._encoder))
        self._noise_unit = 0.0

    def run(self, X: Matrix, codes: np.ndarray) -> dict[str, Any]:
        """Return the fitted attributes after a whole fit.

        Parameters
        ----------
        X : ndarray or CSR matrix of shape (n_samples, n_features)
            Rows.
        codes : ndarray of shape (n_samples, n_components)
            What the members make of them.
        """
        n_outputs, name = self._wanted.n_outputs, self._estimator._name_of_top
        alpha, held_out = self.resolve_alpha(codes), self._held_out
        top = empty_top(codes.shape[1], n_outputs, self._estimator.dtype)
        scaling = self._scaling(codes)
        if self._n_frozen == len(self._encoder):
            schedule = self._top_schedule(codes)
            schedule = replace(
                schedule,
                max_iter=max(schedule.max_iter, self._estimator.max_iter),
                tol=min(schedule.tol, self._estimator.tol),
            )
            return self._train(name, [top], codes, scaling, schedule, alpha, held_out=held_out)[1]
        schedule, least = self._top_schedule(codes), max(alpha, LEAST_TOP_ALPHA)
        layers, _ = self._train(name, [top], codes, scaling, schedule, least, is_last=False)
        layers = [*self._encoder[self._n_frozen :], *layers]
        rows = self._input(X)
        schedule = self._schedule(*rows)
        return self._train(FINE_TUNING, layers, *rows, schedule, alpha, held_out=held_out)[1]

    def resolve_alpha(self, codes: np.ndarray) -> float:
        """Return the weight decay, given what the members make of the rows."""
        is_frozen = self._n_frozen == len(self._encoder)
        return self._estimator._resolve_alpha(codes, self._wanted, is_frozen=is_frozen)

    def run_once(
        self, X: Matrix, alpha: float, *, resume: bool, with_new_top: bool, keeps_state: bool
    ) -> dict[str, Any]:
        """Return the fitted attributes after one pass at the constant rate.

        Parameters
        ----------
        X : ndarray or CSR matrix of shape (n_samples, n_features)
            Rows.
        alpha : float
            Weight decay.
        resume : bool
            Whether there were passes before.
        with_new_top : bool
            Whether the layer on top is none that was trained before.
        keeps_state : bool
            Whether the solver goes on from where it stood.
        """
        if resume and self._estimator._n_frozen == self._n_frozen:
            self._noise_unit = self._estimator._noise_unit
        estimator, n_outputs = self._estimator, self._wanted.n_outputs
        n_components = self._networks[-1].n_components
        attributes = self._wanted.attributes
        if with_new_top:
            top = empty_top(n_components, n_outputs, estimator.dtype)
        else:
            top = estimator._top_again(attributes)
        layers = [*self._encoder[self._n_frozen :], top]
        rows = self._input(X)
        n_before = estimator.n_iter_ if resume else 0
        pace = Seen(**attributes["_seen"]).pace(self._wanted.seen) if resume else 1.0
        schedule = self._schedule(*rows, first_epoch=n_before, one_pass=True, pace=pace)
        return self._train(
            FINE_TUNING,
            layers,
            *rows,
            schedule,
            alpha,
            resume=resume,
            keeps_state=keeps_state,
        )[1]

    def _train(
        self,
        name: str,
        layers: Sequence[Layer],
        X: Matrix,
        scaling: Scaling,
        schedule: "Schedule",
        alpha: float,
        *,
        held_out: np.ndarray | None = None,
        resume: bool = False,
        keeps_state: bool = False,
        is_last: bool = True,
    ) -> tuple[Sequence[Layer], dict[str, Any]]:
        """Return the last layers of the network after the training of that name, and what it makes.

        Nobody need hear of the end of one that is not the last, or of each of its epochs.
        """
        estimator, context = self._estimator, self._context
        before = {name: getattr(estimator, name) for name in CONTINUED} if resume else {}
        n_kept = len(self._encoder) - (len(layers) - 1)
        # The solver's memory is of the layers that it moved.
        goes_on = resume and keeps_state and estimator._n_frozen == n_kept
        if context is not None:
            task_name = "finetune" if name == FINE_TUNING else task_of(name)
            context = context.subcontext(task_name=task_name, max_subtasks=schedule.max_iter)
            context.call_on_fit_task_begin(estimator=estimator, **self._task)

        def attributes(
            layers: Sequence[Layer], loss_curve: list[float], validation_curve: list[float]
        ) -> dict[str, Any]:
            encoder = [*self._encoder[:n_kept], *layers[:-1]]
            curve = [*before.get("loss_curve_", []), *loss_curve]
            return {
                "autoencoders_": with_layers(self._members, encoder),
                "loss_curve_": curve,
                "validation_score_curve_": validation_curve
                or before.get("validation_score_curve_"),
                "n_iter_": len(curve),
                **estimator._top_attributes(layers[-1], self._wanted.attributes),
            }

        state = estimator._state if goes_on else None
        plan = self._plan(layers, scaling, schedule, alpha, held_out_index=held_out, state=state)
        n_before = before.get("n_iter_", 0)
        monitor = epoch_monitor(
            estimator, plan, context, self._task, attributes, n_before, quiet=not is_last
        )
        with self._stages.begin(name) as end:
            layers, trained = train_layers(plan, X, self._wanted.weight, monitor, warn=is_last)
            if not is_last:
                give_up_if_interrupted(trained.stopped_by)
            end(trained.stopped_by, len(trained.loss_curve), trained.loss)
        found = attributes(layers, trained.loss_curve, trained.validation_curve) | {
            "alpha_": alpha,
            "_alpha_of_none": before.get("_alpha_of_none")
            if estimator.alpha is not None
            else alpha,
            "loss_": trained.loss,
            "n_steps_": before.get("n_steps_", 0) + trained.n_steps,
            "_seed": self._seed,
            "_state": trained.state,
            "_n_frozen": n_kept,
            "_noise_unit": self._noise_unit,
        }
        if context is not None:
            context.call_on_fit_task_end(
                estimator=estimator, reconstruction_attributes=found, **self._task
            )
        return layers, found

    def _plan(
        self,
        layers: Sequence[Layer],
        scaling: Scaling,
        schedule: "Schedule",
        alpha: float,
        **rest: Any,
    ) -> Plan:
        from sksae.engine.objective import Penalties

        estimator, wanted = self._estimator, self._wanted
        decays = "last" if estimator.decay == "top" else "all"
        return plan_layers(
            self._specification,
            layers,
            len(layers) - 1,
            scaling,
            schedule,
            Penalties(None, 0.5, 0.0, alpha, decays),
            index=wanted.index,
            loss=wanted.loss,
            target=wanted.target,
            **rest,
        )

    def _schedule(self, X: Matrix, scaling: Scaling, **rest: Any) -> "Schedule":
        """Return the solver and the steps of all layers together, on what enters them."""
        specification, wanted = self._specification, self._wanted
        return finetune_schedule(
            specification,
            self._seed,
            n_rows=len(wanted.index),
            n_features=X.shape[1],
            noise=finetuning_noise(specification, self._unit_of_noise(X, scaling)),
            blanks_to_zero=not scaling.scaled,
            dropout=self._dropout(),
            **rest,
        )

    def _unit_of_noise(self, X: Matrix, scaling: Scaling) -> float:
        """Return the deviation of all entries of what enters the layers, as they see it.

        That of the rows that a first member scaled; of what is not scaled that of the first rows,
        which those of later pieces are measured by too.
        """
        if self._estimator.noise != "gaussian":
            return self._noise_unit
        if scaling.scaled:
            return scaled_deviation(X.shape[1], self._networks[0].output_activation)
        if self._noise_unit == 0.0:
            _, variance = weighted_moments(X, self._wanted.index, self._wanted.weight)
            self._noise_unit = float(np.sqrt(variance))
        return self._noise_unit

    def _dropout(self) -> "Dropout | None":
        """Return what leaves units of codes out: of all members' whose encoder is trained."""
        from sksae.engine.noise import Dropout

        if self._estimator.dropout == 0.0:
            return None
        ends = np.cumsum([each.n_encoder_layers for each in self._networks]) - self._n_frozen
        layers = tuple(int(end) - 1 for end in ends if end > 0)
        return Dropout(float(self._estimator.dropout), layers) if layers else None

    def _top_schedule(self, codes: np.ndarray) -> "Schedule":
        """Return the solver and the steps of the layer on top alone."""
        specification = self._specification
        schedule = finetune_schedule(
            specification, self._seed, n_rows=len(self._wanted.index), n_features=codes.shape[1]
        )
        patience = specification.n_iter_no_change
        return replace(
            schedule,
            solver="lbfgs",
            max_iter=TOP_ITERATIONS,
            tol=TOP_TOL,
            n_iter_no_change=TOP_PATIENCE if isinstance(patience, str) else patience,
        )

    def _scaling(self, codes: np.ndarray) -> Scaling:
        return scaling_of_codes(codes, self._wanted.index, self._wanted.weight)

    def _input(self, X: Matrix) -> tuple[Matrix, Scaling]:
        """Return what enters the first layer that is trained, and its scaling."""
        if self._n_frozen > 0:
            codes = encode_through(self._members, X, self._n_frozen)
            return codes, self._scaling(codes)
        return X, scaling_of_first(self._networks[0], X, self._wanted.index, self._wanted.weight)


def empty_top(n_components: int, n_outputs: int, dtype: str) -> Layer:
    """Return a linear layer of zeros: outputs that are all alike lead the layers below nowhere."""
    return Layer(
        np.zeros((n_components, n_outputs), kept_dtype(dtype)),
        np.zeros(n_outputs),
        None,
        "identity",
    )


def check_freeze(freeze: int | None, n_layers: int) -> int:
    """Return how many leading layers of the encoder stay as they are."""
    if freeze is None:
        return 0
    if freeze > n_layers:
        raise ValueError(
            f"freeze={freeze} is the number of leading encoder layers that stay as they are, but "
            f"the autoencoders have {n_layers} only, counting hidden_layer_sizes."
        )
    return freeze
