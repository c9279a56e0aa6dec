"""What SparseAutoencoderClassifier and SparseAutoencoderRegressor share."""

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackContext, CallbackSupportMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_consistent_length

from sksae import constraints
from sksae.finetuning import (
    check_training,
    encode_through,
    epoch_monitor,
    finetune_schedule,
    plan_layers,
    scaling_of_codes,
    scaling_of_first,
    train_layers,
)
from sksae.joined import Layer, join, n_encoder_layers, separate
from sksae.members import (
    ComposedOfAutoencoders,
    check_fit_together,
    check_names,
    check_unchanged,
    count_encoder_layers,
    draw_seeds,
    give_up_if_interrupted,
    pretrained,
)
from sksae.planning import Plan, Trainable
from sksae.rows import checked_rows, checked_weight, unseen_on_failure
from sksae.scaling import Matrix, Scaling
from sksae.targets import check_counted, hold_out
from sksae.transformer import SparseAutoencoderTransformer
from sksae.warning import speaking_for

if TYPE_CHECKING:
    from sksae.engine.jobs import Schedule
    from sksae.engine.losses import Loss

# The layer on top is trained first, on codes that stay as they are, by L-BFGS until its loss has
# settled: fine-tuning that started from a random one would spoil the codes before it has learnt
# anything (UFLDL, "Stacked Autoencoders"; Kumar et al., ICLR 2022).
TOP_ITERATIONS, TOP_TOL = 200, 1e-4


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
        Fitted attributes that describe the target.
    strata : ndarray of shape (n_samples,) or None
        Classes that rows held out shall hold in proportion.
    """

    target: np.ndarray
    loss: "Loss"
    index: np.ndarray
    weight: np.ndarray | None
    n_outputs: int
    attributes: dict[str, Any]
    strata: np.ndarray | None = None


class SupervisedStack(CallbackSupportMixin, ComposedOfAutoencoders, BaseEstimator):
    """A stack of autoencoders with a layer on top, trained for a task."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = dict(constraints.SUPERVISED)

    @abstractmethod
    def _read_targets(
        self, y: ArrayLike, weight: np.ndarray | None, *, resume: bool, classes: ArrayLike | None
    ) -> Wanted:
        """Return what is to be learnt of rows with these targets."""

    @abstractmethod
    def _top(self) -> Layer:
        """Return the fitted layer on top, as it was trained."""

    @abstractmethod
    def _top_attributes(self, top: Layer, described: dict[str, Any]) -> dict[str, Any]:
        """Return the fitted attributes of a layer on top, given those of the target."""

    def _fit(
        self,
        X: ArrayLike | sp.sparray | sp.spmatrix,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        context: CallbackContext,
    ) -> Self:
        named = self._checked_members()
        check_training(self)
        with speaking_for(self), unseen_on_failure(self):
            X = checked_rows(self, X, reset=True)
            check_target(self, X, y)
            weight = checked_weight(sample_weight, X)
            wanted = self._read_targets(y, weight, resume=False, classes=None)
            check_fit_together(named, X.shape[1], pretrain=self.pretrain)
            check_names(self, named, pretrain=self.pretrain)
            check_freeze(self.freeze, count_encoder_layers(named, pretrain=self.pretrain))
            *seeds, seed = draw_seeds(self.random_state, len(named) + 1)
            wanted, held_out = choose_rows(self, wanted, seed)
            metadata = None if weight is None else {"sample_weight": weight}
            task = {"X": X, "y": y, "metadata": metadata}
            context.call_on_fit_task_begin(estimator=self, **task)
            members, codes = pretrained(
                named, X, weight, seeds, pretrain=self.pretrain, context=context, caller=self
            )
            course = _Fit(self, members, wanted, held_out, seed, context, task)
            attributes = course.run(X, codes)
        for name, value in attributes.items():
            setattr(self, name, value)
        context.call_on_fit_task_end(estimator=self, reconstruction_attributes=attributes, **task)
        return self

    def _partial_fit(
        self,
        X: ArrayLike | sp.sparray | sp.spmatrix,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        classes: ArrayLike | None,
    ) -> Self:
        if self.early_stopping:
            raise ValueError(
                "partial_fit cannot hold out rows for early_stopping=True: use "
                "early_stopping=False, or fit."
            )
        resume = hasattr(self, "autoencoders_")
        named = self._checked_members()
        check_training(self)
        with speaking_for(self), unseen_on_failure(self):
            X = checked_rows(self, X, reset=not resume)
            check_target(self, X, y)
            weight = checked_weight(sample_weight, X)
            wanted = self._read_targets(y, weight, resume=resume, classes=classes)
            if resume:
                members, seed = self.autoencoders_, self._seed
                check_unchanged(named, members)
                wanted, _ = choose_rows(self, wanted, seed)
            else:
                check_fit_together(named, X.shape[1], pretrain=self.pretrain)
                check_names(self, named, pretrain=self.pretrain)
                check_freeze(self.freeze, count_encoder_layers(named, pretrain=self.pretrain))
                *seeds, seed = draw_seeds(self.random_state, len(named) + 1)
                wanted, _ = choose_rows(self, wanted, seed)
                members, _ = pretrained(
                    named, X, weight, seeds, pretrain=self.pretrain, context=None, caller=self
                )
            course = _Fit(self, members, wanted, None, seed, None, {"X": X, "y": y})
            attributes = course.run_once(X, resume=resume)
        for name, value in attributes.items():
            setattr(self, name, value)
        return self

    def _output(self, X: ArrayLike | sp.sparray | sp.spmatrix) -> np.ndarray:
        """Return the output of the layer on top, (n_samples, n_outputs), in X's precision."""
        X = checked_rows(self, X)
        codes = encode_through(self.autoencoders_, X)
        top = self._top()
        coef = top.coef.astype(codes.dtype, copy=False)
        return codes @ coef + top.intercept.astype(codes.dtype)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "autoencoders_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def check_target(estimator: BaseEstimator, X: Matrix, y: ArrayLike | None) -> None:
    """Raise if there is no target, or not one for each row."""
    if y is None:
        raise ValueError(
            f"This {type(estimator).__name__} estimator requires y to be passed, but the target y "
            "is None."
        )
    check_consistent_length(X, y)


class _Fit:
    """The trainings of one fit: of the layer on top, then of all layers that are not frozen."""

    def __init__(
        self,
        estimator: SupervisedStack,
        members: list[SparseAutoencoderTransformer],
        wanted: Wanted,
        held_out: np.ndarray | None,
        seed: int,
        context: CallbackContext | None,
        task: dict[str, Any],
    ) -> None:
        self._estimator, self._members, self._wanted = estimator, members, wanted
        self._held_out, self._seed = held_out, seed
        self._context, self._task = context, task
        n_layers = sum(n_encoder_layers(member) for member in members)
        # Without their decoders there is nothing that layers could be tied to.
        self._encoder = [layer._replace(tied=False) for layer in join(members)[:n_layers]]
        self._n_frozen = check_freeze(estimator.freeze, n_layers)

    def run(self, X: Matrix, codes: np.ndarray) -> dict[str, Any]:
        """Return the fitted attributes after a whole fit.

        Parameters
        ----------
        X : ndarray or CSR matrix of shape (n_samples, n_features)
            Rows.
        codes : ndarray of shape (n_samples, n_components)
            What the members make of them.
        """
        n_outputs = self._wanted.n_outputs
        top = empty_top(codes.shape[1], n_outputs, self._estimator.dtype)
        scaling = self._scaling(codes)
        if self._n_frozen == len(self._encoder):
            schedule = self._top_schedule()
            schedule = replace(
                schedule,
                max_iter=max(schedule.max_iter, self._estimator.max_iter),
                tol=min(schedule.tol, self._estimator.tol),
            )
            return self._train([top], codes, scaling, schedule, held_out=self._held_out)
        # Nobody need hear of this one.
        plan = self._plan([top], scaling, self._top_schedule())
        layers, trained = train_layers(plan, codes, self._wanted.weight)
        give_up_if_interrupted(trained.stopped_by)
        layers = [*self._encoder[self._n_frozen :], *layers]
        schedule = finetune_schedule(self._estimator, self._seed)
        return self._train(layers, *self._input(X), schedule, held_out=self._held_out)

    def run_once(self, X: Matrix, *, resume: bool) -> dict[str, Any]:
        """Return the fitted attributes after one pass at the constant rate."""
        estimator, n_outputs = self._estimator, self._wanted.n_outputs
        n_components = self._members[-1]._n_features_out
        top = estimator._top() if resume else empty_top(n_components, n_outputs, estimator.dtype)
        schedule = finetune_schedule(
            estimator, self._seed, first_epoch=estimator.n_iter_ if resume else 0, one_pass=True
        )
        layers = [*self._encoder[self._n_frozen :], top]
        return self._train(layers, *self._input(X), schedule, resume=resume)

    def _train(
        self,
        layers: list[Layer],
        X: Matrix,
        scaling: Scaling,
        schedule: "Schedule",
        *,
        held_out: np.ndarray | None = None,
        resume: bool = False,
    ) -> dict[str, Any]:
        estimator, context = self._estimator, self._context
        before = {name: getattr(estimator, name) for name in CONTINUED} if resume else {}
        # The solver's memory is of the layers that it moved.
        goes_on = resume and estimator._n_frozen == self._n_frozen
        if context is not None:
            context = context.subcontext(task_name="finetune", max_subtasks=schedule.max_iter)
            context.call_on_fit_task_begin(estimator=estimator, **self._task)

        def attributes(
            layers: list[Layer], loss_curve: list[float], validation_curve: list[float]
        ) -> dict[str, Any]:
            encoder = [*self._encoder[: self._n_frozen], *layers[:-1]]
            curve = [*before.get("loss_curve_", []), *loss_curve]
            return {
                "autoencoders_": separate(self._members, encoder),
                "loss_curve_": curve,
                "validation_score_curve_": validation_curve
                or before.get("validation_score_curve_"),
                "n_iter_": len(curve),
                **estimator._top_attributes(layers[-1], self._wanted.attributes),
            }

        state = estimator._state if goes_on else None
        plan = self._plan(layers, scaling, schedule, held_out_index=held_out, state=state)
        n_before = before.get("n_iter_", 0)
        monitor = epoch_monitor(estimator, plan, context, self._task, attributes, n_before)
        layers, trained = train_layers(plan, X, self._wanted.weight, monitor)
        found = attributes(layers, trained.loss_curve, trained.validation_curve) | {
            "loss_": trained.loss,
            "n_steps_": before.get("n_steps_", 0) + trained.n_steps,
            "_seed": self._seed,
            "_state": trained.state,
            "_n_frozen": self._n_frozen,
        }
        if context is not None:
            context.call_on_fit_task_end(
                estimator=estimator, reconstruction_attributes=found, **self._task
            )
        return found

    def _plan(
        self, layers: list[Layer], scaling: Scaling, schedule: "Schedule", **rest: Any
    ) -> Plan:
        from sksae.engine.objective import Penalties

        estimator, wanted = self._estimator, self._wanted
        decays = "last" if estimator.decay == "top" else "all"
        return plan_layers(
            estimator,
            layers,
            len(layers) - 1,
            scaling,
            schedule,
            Penalties(None, 0.5, 0.0, float(estimator.alpha), decays),
            index=wanted.index,
            loss=wanted.loss,
            target=wanted.target,
            **rest,
        )

    def _top_schedule(self) -> "Schedule":
        schedule = finetune_schedule(self._estimator, self._seed)
        return replace(schedule, solver="lbfgs", max_iter=TOP_ITERATIONS, tol=TOP_TOL)

    def _scaling(self, codes: np.ndarray) -> Scaling:
        return scaling_of_codes(codes, self._wanted.index, self._wanted.weight)

    def _input(self, X: Matrix) -> tuple[Matrix, Scaling]:
        """Return what enters the first layer that is trained, and its scaling."""
        if self._n_frozen > 0:
            codes = encode_through(self._members, X, self._n_frozen)
            return codes, self._scaling(codes)
        return X, scaling_of_first(self._members[0], X, self._wanted.index, self._wanted.weight)


# What a fit that goes on adds to.
CONTINUED = ("loss_curve_", "validation_score_curve_", "n_iter_", "n_steps_")


def empty_top(n_components: int, n_outputs: int, dtype: str) -> Layer:
    """Return a linear layer of zeros: outputs that are all alike lead the layers below nowhere."""
    return Layer(np.zeros((n_components, n_outputs), dtype), np.zeros(n_outputs), None, "identity")


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


def choose_rows(
    estimator: Trainable, wanted: Wanted, seed: int
) -> tuple[Wanted, np.ndarray | None]:
    """Return what is wanted of the rows that count, and which of them are held out (None: none)."""
    index, held_out = wanted.index, None
    if wanted.weight is not None:
        check_counted(wanted.weight[index])
        index = index[wanted.weight[index] > 0.0]
    if estimator.early_stopping:
        index, held_out = hold_out(index, wanted.strata, estimator.validation_fraction, seed)
    return replace(wanted, index=index), held_out
