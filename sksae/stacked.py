"""StackedSparseAutoencoder: autoencoders trained one upon another, then all together."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike
from sklearn.base import (
    BaseEstimator,
    _fit_context,
)
from sklearn.callback import CallbackContext, CallbackSupportMixin, with_callbacks
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sksae.base import constraints
from sksae.base.attributes import curve_attributes
from sksae.base.checkpoint import checkpointed
from sksae.base.documentation import DocumentedMixin
from sksae.base.inference import reconstruction_distances
from sksae.base.inputs import checked_codes, checked_rows, checked_weight, unseen_on_failure
from sksae.base.parameters import training_specification_of
from sksae.base.persistence import PersistentMixin
from sksae.base.protocols import Autoencoder
from sksae.base.reading import network_as_read, warn_of_readings
from sksae.base.reconstruction import reconstruction_score, squared_errors
from sksae.base.stages import Stages, short_named, tell
from sksae.base.together import check_same_form, fits_together
from sksae.model.codes import mean_activation
from sksae.model.loss_parts import RECONSTRUCTION, LossParts
from sksae.model.network import Layer
from sksae.model.numbers import Extended, Matrix, float_dtype
from sksae.model.scaling import has_scaled_norm
from sksae.model.settings import Penalties
from sksae.model.slices import chunk_slices
from sksae.model.unrolled import unroll
from sksae.process.interrupts import ending_when_interrupted
from sksae.process.processes import processes_in_use
from sksae.process.shortage import AT_WORK, IN_TRAINING, explained_shortage
from sksae.process.warning import speaking_for
from sksae.stacking.composition import Autoencoders, ComposedOfAutoencoders
from sksae.stacking.members import (
    as_fitted,
    check_fit_together,
    check_names,
    count_trained,
    loss_of,
    networks_taken,
)
from sksae.stacking.monitoring import epoch_monitor
from sksae.stacking.pretraining import draw_seeds, pretrained
from sksae.stacking.rolling import with_layers
from sksae.training import defaults, validation
from sksae.training.finetuning import (
    make_finetuning_config,
    plan_layers,
    scaling_of_first,
    train_layers,
)
from sksae.training.moments import count_rows
from sksae.training.plan import check_device
from sksae.training.specification import TrainingSpecification
from sksae.training.splits import check_rows, split_rows
from sksae.transformer import SparseAutoencoderTransformer

# Fitted attributes that a fit without fine-tuning does not have.
OF_FINETUNING = (
    "alpha_",
    "loss_",
    "loss_curve_",
    "loss_parts_",
    "validation_score_curve_",
    "mean_activation_",
    "active_share_",
    "largest_activation_",
    "row_sparsity_",
    "n_steps_",
)


class StackedSparseAutoencoder(
    DocumentedMixin,
    PersistentMixin,
    CallbackSupportMixin,
    ComposedOfAutoencoders,
    BaseEstimator,
):
    r"""Train autoencoders one after another, then all together.

    Each autoencoder learns from the codes of the one before ("greedy layer-wise training" [1]_).
    Then, unless ``finetune`` is False, all layers are trained together as one network, from the
    rows to the last code and back [2]_, to minimise

    .. math::

        J = \frac{1}{\sum_i w_i} \sum_i w_i \tfrac12 \lVert \hat z_i - z_i \rVert^2
            + \beta S + \frac{\alpha}{2} \sum_l \lVert W_l \rVert_F^2 ,

    where z is the row in the scaling of the first member, and S is the sparsity term of the last
    member's code, with its ``rho`` and its ``beta_``. So the codes stay sparse. The ``noise`` of
    members acts only in their own training.

    Parameters
    ----------
    autoencoders : list of autoencoders, ints or pairs (str, one of these), or None, default=None
        The members, of type `SparseAutoencoderTransformer`, in order, with or without names. The
        default names are "sae0", "sae1", ... A number is an autoencoder with so many units and
        default parameters, and None is a single one with 100 units. `set_params` and searches reach
        all members, for example as ``sae0__rho``.
        They are cloned, never changed. A member in a :class:`~sklearn.frozen.FrozenEstimator` keeps
        its fit, and is fine-tuned with the others. Codes are a CSR matrix if the last member has
        ``sparse_output=True``. If a member has ``transform_n_active``, its code has so many active
        units for the members behind it, in the fine-tuning (which trains it for this number), in
        `transform` and in `score`. A ``transform_algorithm`` other than "encode" is a ValueError,
        because a stack applies its layers one after another; use a
        :class:`~sklearn.pipeline.Pipeline` for it.

    finetune : bool, default=True
        Whether to train all layers together after the members. The loss of a row is the ``loss`` of
        the first member.

    pretrain : bool, default=True
        Whether to train each member on its own. With False the members must be fitted already,
        perhaps on other data, and are copied.

    alpha : float >= 0 or None, default=None
        Weight decay of the fine-tuning, on the weights of all layers. None is the default of one
        autoencoder with all these layers, the ``sparsity`` of the last member and the
        ``scale_data`` of the first: with hidden layers 0.001 for "kl" and 1e-4 otherwise.
        ``alpha_`` is the value used.

    solver : {"adam", "sgd", "lbfgs"}, default="adam"
        Solver of the fine-tuning. This and all following parameters are those of the fine-tuning;
        see `SparseAutoencoderTransformer`.

    learning_rate : float > 0 or "auto", default="auto"
        The rate of "adam" and "sgd". "auto" is 3e-3, less than for a training from the start; for
        "adam" it is 3e-3 min(1, sqrt(784 / n_features)).

    learning_rate_schedule : {"linear", "constant"}, default="linear"
        "linear" falls from ``learning_rate`` to zero over ``max_iter`` epochs.

    momentum : float in [0, 1), default=0.9
        Momentum of "sgd".

    batch_size : int >= 1 or "auto", default="auto"
        Largest number of rows in a minibatch of "adam" and "sgd"; "auto" is 256.

    max_iter : int >= 1, default=50
        Epochs; iterations for "lbfgs".

    tol : float >= 0, default=1e-3
        Training continues only if the loss falls by more than this share of it in
        ``n_iter_no_change`` epochs; with ``early_stopping``, if the held-out R^2 rises by more than
        this.

    n_iter_no_change : int >= 1 or "auto", default="auto"
        See ``tol``. "auto" is 10 epochs, and at least 300 steps, for "adam" and "sgd"; 30
        iterations for "lbfgs".

    early_stopping : bool, default=False
        Whether to hold out rows in the fine-tuning, and return the weights that rebuild them best.

    validation_fraction : float in (0, 1), default=0.1
        Share of rows held out with ``early_stopping``.

    shuffle : bool, default=True
        Whether each epoch visits the rows in a new order.

    dtype : {"float32", "float64", "bfloat16"}, default="float32"
        Precision of the fine-tuning; "bfloat16" concerns only the products of "adam" and "sgd" (see
        `SparseAutoencoderTransformer`).

    device : str, default="auto"
        Where to fine-tune: "auto", "cpu", "cuda", "cuda:1", "mps". Members have their own.

    data_parallel : bool, default=False
        Whether all processes of ``torch.distributed`` make one fit, each with rows of its own. Each
        calls `fit` with its rows, and all end with the same model, which is what
        one process would learn of all rows (docs/guide/distributed.md). ``batch_size`` is that of
        all processes together, and weights are relative to the mean over all. A ValueError if
        ``torch.distributed`` is not initialised, and a RuntimeError if another process fails. In a
        group of one process it has no effect.
        It holds for members too, whatever their own ``data_parallel`` says.

    verbose : bool or int, default=0
        1 prints the start and the end of each training (of the members and of the fine-tuning), and
        the progress of the fine-tuning as in `SparseAutoencoderTransformer`; 2 prints every epoch
        of it. Lines begin with the member's name, or with "fine-tuning". Members have their own
        ``verbose`` for their epochs.

    random_state : int, RandomState instance or None, default=None
        Seed of fine-tuning, and of members without their own seed.

    Attributes
    ----------
    autoencoders_ : list of SparseAutoencoderTransformer
        The fitted members with the fine-tuned weights: `transform` applies one after the other.
        Their losses, curves and mean activations are those of their own training.
    n_iter_ : int
        Epochs of fine-tuning (iterations for "lbfgs"); without ``finetune``, the sum over the
        trainings of the members.
    n_steps_ : int
        Steps of fine-tuning. This and the next nine attributes do not exist without ``finetune``.
    alpha_ : float
        Weight decay of the fine-tuning: ``alpha``, or what None stood for.
    loss_ : float
        J after fine-tuning.
    loss_curve_ : list of float
        For each epoch of fine-tuning the mean of J over its minibatches.
    loss_parts_ : dict of {"reconstruction", "sparsity", "decay"} to list of float
        The terms of ``loss_curve_``, as in `SparseAutoencoderTransformer`.
    validation_score_curve_ : list of float or None
        R^2 of the held-out rows after each epoch; None without ``early_stopping``.
    mean_activation_ : ndarray of shape (n_components,), float64
        Weighted mean of each unit's activation over the training rows, of (1 + a) / 2 for tanh.
    active_share_ : ndarray of shape (n_components,), float64
        Weighted share of the training rows in which each unit is active, as in
        `SparseAutoencoderTransformer`.
    largest_activation_ : ndarray of shape (n_components,), float64
        Largest activity of each unit over the training rows, as in `SparseAutoencoderTransformer`.
    row_sparsity_ : float
        Mean sparsity of the training rows' codes, as in `SparseAutoencoderTransformer`.
    n_features_in_ : int
        Number of features seen by `fit`.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, where X has names that are all strings.

    See Also
    --------
    SparseAutoencoderTransformer : One autoencoder; with ``hidden_layer_sizes`` it is deep.
    SparseAutoencoderClassifier : A stack fine-tuned to predict classes.

    Notes
    -----
    A member scales the codes that it learns from (``scale_data``). In the whole network this
    scaling is a fixed factor and part of a bias. So weights have the same meaning and the same
    decay before and after; tied weights stay tied.

    References
    ----------
    .. [1] Y. Bengio, P. Lamblin, D. Popovici and H. Larochelle, "Greedy layer-wise training of
           deep networks", NIPS 2006; UFLDL tutorial, "Stacked Autoencoders".
    .. [2] G. Hinton and R. Salakhutdinov, "Reducing the dimensionality of data with neural
           networks", Science 313, 2006.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sksae import SparseAutoencoderTransformer, StackedSparseAutoencoder
    >>> X = load_digits().data
    >>> first = SparseAutoencoderTransformer(64, rho=0.2, max_iter=30, tol=0.01)
    >>> second = SparseAutoencoderTransformer(32, rho=0.2, max_iter=30, tol=0.01)
    >>> stack = StackedSparseAutoencoder([first, second], finetune=False, random_state=0)
    >>> before = stack.fit(X).score(X)
    >>> stack = StackedSparseAutoencoder([first, second], random_state=0).fit(X)
    >>> stack.transform(X).shape, stack.score(X) > before + 0.05
    ((1797, 32), True)
    """

    _make_autoencoder = SparseAutoencoderTransformer
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "autoencoders": [list, tuple, None],
        "finetune": ["boolean"],
        "pretrain": ["boolean"],
        **constraints.TRAINING,
        "alpha": [*constraints.TRAINING["alpha"], None],
    }

    def __init__(
        self,
        autoencoders: Autoencoders = None,
        *,
        finetune: bool = True,
        pretrain: bool = True,
        alpha: float | None = None,
        solver: Literal["adam", "sgd", "lbfgs"] = "adam",
        learning_rate: Literal["auto"] | float = "auto",
        learning_rate_schedule: Literal["linear", "constant"] = "linear",
        momentum: float = 0.9,
        batch_size: Literal["auto"] | int = "auto",
        max_iter: int = 50,
        tol: float = 1e-3,
        n_iter_no_change: Literal["auto"] | int = "auto",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        shuffle: bool = True,
        dtype: Literal["float32", "float64", "bfloat16"] = "float32",
        device: str = "auto",
        data_parallel: bool = False,
        verbose: bool | int = 0,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.autoencoders = autoencoders
        self.finetune = finetune
        self.pretrain = pretrain
        self.alpha = alpha
        self.solver = solver
        self.learning_rate = learning_rate
        self.learning_rate_schedule = learning_rate_schedule
        self.momentum = momentum
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.shuffle = shuffle
        self.dtype = dtype
        self.device = device
        self.data_parallel = data_parallel
        self.verbose = verbose
        self.random_state = random_state

    @classmethod
    def from_pipeline(cls, pipeline: Pipeline, **params: Any) -> Self:
        """Make a stack from a pipeline of autoencoders, to fine-tune all layers together.

        Parameters
        ----------
        pipeline : Pipeline
            Its steps are `SparseAutoencoderTransformer`; steps "passthrough" or None are left out.
            If the pipeline is fitted, the stack is fitted too and transforms as the pipeline does;
            `fit` then starts from its weights (``pretrain=False``).
        **params : dict
            Parameters of the stack.

        Returns
        -------
        stack : StackedSparseAutoencoder
            Its members have the names of the steps.

        Raises
        ------
        TypeError
            If a step is something else.
        """
        named = [(name, step) for name, step in pipeline.steps if step not in (None, "passthrough")]
        for name, step in named:
            if not isinstance(step, SparseAutoencoderTransformer):
                raise TypeError(
                    f"from_pipeline needs steps that are SparseAutoencoderTransformers, but "
                    f"{name!r} is {step!r}: slice the pipeline, and put what comes before into a "
                    "pipeline with the stack."
                )
        is_fitted = bool(named) and all(hasattr(step, "coefs_") for _, step in named)
        stack = cls(named, **({"pretrain": not is_fitted} | params))
        if is_fitted:
            stack.autoencoders_ = as_fitted(stack._checked_members())
            first = stack.autoencoders_[0]
            stack.n_iter_ = sum(member.n_iter_ for member in stack.autoencoders_)
            stack.n_features_in_ = first.n_features_in_
            if hasattr(first, "feature_names_in_"):
                stack.feature_names_in_ = first.feature_names_in_
        return stack

    @fits_together
    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=False)
    @np.errstate(all="ignore")
    @explained_shortage(IN_TRAINING)
    def fit(
        self,
        X: ArrayLike | sp.sparray | sp.spmatrix,
        y: object = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train the members one after another, then all layers together.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training rows.
        y : None
            Ignored, present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weight of each row, in all trainings.

        Returns
        -------
        self : StackedSparseAutoencoder
            Fitted.

        Raises
        ------
        TypeError
            If a member is not a `SparseAutoencoderTransformer`.
        NotFittedError
            With ``pretrain=False`` if a member is not fitted.
        ValueError
            If a parameter or the data is invalid; if the shapes of fitted members do not fit
            together; if the loss becomes infinite or nan.
        """
        named = self._checked_members()
        specification = None
        if self.finetune:
            specification = training_specification_of(self, TrainingSpecification)
            check_device(specification)
        n_trainings = count_trained(named, pretrain=self.pretrain) + self.finetune
        context = short_named(self._init_callback_context(max_subtasks=n_trainings))
        with ending_when_interrupted(), speaking_for(self), unseen_on_failure(self):
            X = checked_rows(self, X, reset=True)
            weight = checked_weight(sample_weight, X)
            check_same_form(self, X, weight)
            check_fit_together(named, X.shape[1], pretrain=self.pretrain)
            check_names(self, named, pretrain=self.pretrain)
            if self.finetune:
                check_rows(loss_of(named[0][1], pretrain=self.pretrain), X, weight)
            metadata = None if weight is None else {"sample_weight": weight}
            task = {"X": X, "y": y, "metadata": metadata}
            tell(context.call_on_fit_task_begin, estimator=self, **task)
            taken = networks_taken(named, pretrain=self.pretrain)
            with checkpointed(self, X, weight, goes_on_from=taken) as draws:
                *seeds, seed = draw_seeds(draws, len(named) + 1)
                stages = Stages(n_trainings, self.verbose)
                members, _ = pretrained(
                    named,
                    X,
                    weight,
                    seeds,
                    pretrain=self.pretrain,
                    context=context,
                    caller=self,
                    stages=stages,
                )
                n_iter = sum(member.n_iter_ for member in members)
                attributes: dict[str, Any] = {"autoencoders_": members, "n_iter_": n_iter}
                if specification is not None:
                    with stages.begin("fine-tuning") as end:
                        attributes, stopped_by = self._finetuned(
                            specification, members, X, weight, seed, context, task
                        )
                        end(stopped_by, attributes["n_iter_"], attributes["loss_"])
            processes_in_use().meet()
            for name in OF_FINETUNING:
                self.__dict__.pop(name, None)
            for name, value in attributes.items():
                setattr(self, name, value)
        tell(
            context.call_on_fit_task_end,
            estimator=self,
            reconstruction_attributes=attributes,
            **task,
        )
        return self

    @np.errstate(all="ignore")
    @explained_shortage(AT_WORK)
    def inverse_transform(self, X: ArrayLike | sp.sparray | sp.spmatrix) -> np.ndarray:
        """Return the rows that some codes stand for.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_components)
            Codes, as `transform` makes them. Sparse codes are not made dense.

        Returns
        -------
        X_original : ndarray of shape (n_samples, n_features)
            Reconstruction in the scale of the training data, in the precision of the codes.

        Raises
        ------
        NotFittedError
            If the stack is not fitted.
        ValueError
            If X is invalid, or does not have as many columns as the last code; if rows overflow in
            that precision.
        """
        check_is_fitted(self)
        codes = checked_codes(X, self._n_features_out)
        found = np.empty((codes.shape[0], self.n_features_in_), float_dtype(codes))
        widest = max(self.__sksae_network__().sizes)
        # What enters a member and what leaves it are there together.
        for rows in chunk_slices(codes.shape[0], 2 * widest):
            part = codes[rows]
            for member in reversed(self.autoencoders_):
                part = member.inverse_transform(part)
            found[rows] = part
        return found

    def score(
        self,
        X: ArrayLike | sp.sparray | sp.spmatrix,
        y: object = None,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Return R^2 of the reconstruction, without penalties.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored, present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weight of each row.

        Returns
        -------
        score : float
            As `SparseAutoencoderTransformer.score`.

        Raises
        ------
        NotFittedError
            If the stack is not fitted.
        ValueError
            If X or a weight is invalid; if the score overflows in float64, because rows are much
            smaller than the training rows.
        """
        X = checked_rows(self, X)
        return reconstruction_score(X, self._distances(X), checked_weight(sample_weight, X))

    def score_samples(self, X: ArrayLike | sp.sparray | sp.spmatrix) -> np.ndarray:
        """Return minus each row's squared reconstruction error; unusual rows have low scores.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        scores : ndarray of shape (n_samples,), float64
            -||x_hat_i - x_i||^2 in the squared scale of X.

        Raises
        ------
        NotFittedError
            If the stack is not fitted.
        ValueError
            If X is invalid; if scores overflow in float64, as with values of 1e154.
        """
        return -squared_errors(self._distances(checked_rows(self, X)))

    def _distances(self, X: Matrix) -> Extended:
        """Return how far the reconstruction of each row is from it."""
        warn_of_readings(self.autoencoders_)
        whole = self.__sksae_network__().without_input_scales()
        return reconstruction_distances(whole, X, self.autoencoders_[0].device)

    def _finetuned(
        self,
        specification: TrainingSpecification,
        members: list[Autoencoder],
        X: Matrix,
        weight: np.ndarray | None,
        seed: int,
        context: CallbackContext,
        task: dict[str, Any],
    ) -> tuple[dict[str, Any], str]:
        """Return the fitted attributes after training all layers together, and what ended it.

        Parameters
        ----------
        specification : TrainingSpecification
            How to train.
        members : list of autoencoder
            Fitted, each to codes of the one before.
        X : ndarray or CSR matrix of shape (n_samples, n_features)
            Rows.
        weight : ndarray of shape (n_samples,) or None
            Their weights; None where all are alike.
        seed : int
            Of all that is drawn.
        context : CallbackContext
            Of the whole fit.
        task : dict
            What callbacks may ask for: X, y and metadata of the fit.
        """
        last = members[-1]
        whole = unroll(list(map(network_as_read, members)))
        index, held_out_index = split_rows(specification, X.shape[0], weight, seed)
        rho = validation.resolve_rho(last.rho, last.n_components)
        beta = 0.0 if last.beta_ is None else last.beta_
        alpha = defaults.resolve_alpha(
            specification.alpha,
            whole.sparsity,
            whole.n_encoder_layers - 1,
            X.shape[1],
            has_scaled_norm(whole.row_range, whole.scaling.scaled),
            of_probabilities=whole.loss == "cross_entropy",
        )

        def attributes(
            layers: Sequence[Layer], losses: list[LossParts], validation_curve: list[float]
        ) -> dict[str, Any]:
            return {
                "autoencoders_": with_layers(members, layers),
                **curve_attributes(losses, validation_curve, RECONSTRUCTION),
            }

        plan = plan_layers(
            specification,
            whole.layers,
            whole.n_encoder_layers,
            scaling_of_first(whole, X, index, weight),
            make_finetuning_config(
                specification,
                seed,
                n_rows=count_rows(X, index),
                n_features=X.shape[1],
            ),
            Penalties(whole.sparsity, rho, beta, alpha),
            index=index,
            held_out_index=held_out_index,
            loss=whole.loss,
        )
        subcontext = context.subcontext(task_name="finetune", max_subtasks=plan.config.max_iter)
        tell(subcontext.call_on_fit_task_begin, estimator=self, **task)
        monitor = epoch_monitor(self, plan, subcontext, task, attributes)
        layers, trained = train_layers(plan, X, weight, monitor)
        found = attributes(layers, trained.losses, trained.validation_curve) | {
            "alpha_": alpha,
            "loss_": trained.loss,
            "n_steps_": trained.n_steps,
            "mean_activation_": mean_activation(trained.mean_code, whole.code_activation),
            "active_share_": trained.active_share,
            "largest_activation_": trained.largest,
            "row_sparsity_": trained.row_sparsity,
        }
        tell(
            subcontext.call_on_fit_task_end, estimator=self, reconstruction_attributes=found, **task
        )
        return found, trained.stopped_by
