"""SparseAutoencoderRegressor: a stack of autoencoders with a linear layer on top, fine-tuned."""

from typing import Any, ClassVar, Literal, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin, _fit_context
from sklearn.callback import with_callbacks
from sklearn.utils import Tags, check_array, check_consistent_length
from sklearn.utils.validation import _num_samples

from sksae.base import constraints
from sksae.base.available import available_if, goes_by_minibatches
from sksae.base.inputs import checked_weight, errors_about
from sksae.base.target_scaling import (
    TargetScaling,
    first_scaling,
    next_scaling,
    rescaled_top,
    scaled_targets,
)
from sksae.base.targets import read_numbers
from sksae.base.together import fits_together
from sksae.model.network import Layer
from sksae.model.numbers import exponent_of
from sksae.stacking.composition import Autoencoders
from sksae.stacking.ridge import best_decay
from sksae.stacking.supervised import NOISE_LEVEL, SupervisedStack
from sksae.training.seen import Seen
from sksae.training.supervised_values import SupervisedTarget
from sksae.transformer import SparseAutoencoderTransformer

# Predictions may be so many times as large, and as small, as mean and deviation of targets.
ROOM = 2.0**10
# Layers that are trained on adapt to the rows, noise and all: the decay is so many times what the
# layer on top alone would need. Measured on diabetes, Friedman's function and wide tables.
FINE_TUNED = 3.0


class SparseAutoencoderRegressor(RegressorMixin, SupervisedStack):
    r"""Predict numbers by a fine-tuned stack of autoencoders.

    Autoencoders are trained without targets, each on the codes of the one before. Then their
    encoders and a linear layer on the last code are trained together, to minimise

    .. math::

        J = \frac{1}{\sum_i w_i} \sum_i w_i \tfrac12 \lVert W a(x_i) + b - t_i \rVert^2
            + \frac{\alpha}{2} \lVert W \rVert_F^2 ,

    where a(x) is the code, w the ``sample_weight``, and t the target minus its mean, divided by its
    standard deviation, for each output. Before this, the linear layer is trained alone by L-BFGS on
    the pre-trained codes, because a random layer would spoil the codes [1]_.

    Parameters
    ----------
    autoencoders : list of autoencoders, ints or pairs (str, one of these), or None, default=None
        The members, of type `SparseAutoencoderTransformer`, in order, with or without names. The
        default names are "sae0", "sae1", ... A number is an autoencoder with so many units and
        default parameters, and None is a single one with 100 units. `set_params` and searches reach
        all members, for example as ``sae0__rho``.
        They are cloned or copied, never changed. A member in a
        :class:`~sklearn.frozen.FrozenEstimator` keeps its fit. `transform` returns a CSR matrix if
        the last member has ``sparse_output=True``. If a member has ``transform_n_active``, its code
        has so many active units everywhere, and it is fine-tuned for this number. A
        ``transform_algorithm`` other than "encode" is a ValueError.

    pretrain : bool, default=True
        Whether to train the members, each on the codes of the one before. With False they must be
        fitted already, perhaps on other data.

    freeze : int >= 0 or None, default=None
        Number of leading layers of the encoder that keep their pre-trained weights; hidden layers
        of members count. If it is the number of all layers, only the layer on top is trained, on
        the codes, by L-BFGS for any ``solver``, in at most 200 iterations or ``max_iter`` if that
        is more. None is 0.

    unlabeled : -1, None, nan, any other finite number or str, or False, default=False
        Value in y that marks rows without a target; these are used in pre-training only. With False
        there are none. Nulls of polars and pandas columns of numbers are nan. A mark that does not
        occur warns in `fit`.

    decay : {"top", "all"}, default="top"
        Which weights decay: those of the layer on top alone, as in UFLDL, or those of all layers.

    alpha : float >= 0 or None, default=None
        Weight decay. None searches for the decay with which the linear layer on the pre-trained
        codes best predicts left-out rows (five folds, of up to 5000 rows). It takes 3 times this
        decay if other layers are trained too, because these adapt to the rows as well. With fewer
        than ten different rows it is 0.01. `partial_fit` searches in the first piece. ``alpha_`` is
        the value used. In pre-training members use their own, and while the linear layer is trained
        alone, it has at least 1e-4.

    noise : {"gaussian", "masking"} or None, default=None
        How rows are corrupted in fine-tuning, anew in each epoch [2]_. "gaussian" adds normal noise
        to every entry. "masking" sets entries to the mean of their feature, or to 0 if the first
        member has ``scale_data=False``. With frozen layers, the codes that enter the first trained
        layer are corrupted, and masked entries are 0. With "lbfgs" each row is corrupted once for
        all iterations. ``loss_`` and scores are those of clean rows.

    noise_level : float >= 0, default=0.3
        For "gaussian": the standard deviation of the noise, as a multiple of the standard deviation
        of all entries of the corrupted array (in `partial_fit`, of the rows with which the first
        member was scaled, or else of the first piece). For "masking": the share of entries, below
        1. Without effect (and a warning, if set) if ``noise`` is None.

    dropout : float in [0, 1), default=0.0
        Share of the units of each member's code that are left out in a step of fine-tuning, drawn
        anew for every minibatch. The others are divided by the share of units that stay [3]_. Not
        with "lbfgs".

    solver : {"adam", "sgd", "lbfgs"}, default="adam"
        Solver of the fine-tuning. This and all following parameters are those of the fine-tuning;
        see `SparseAutoencoderTransformer`.

    learning_rate : float > 0 or "auto", default="auto"
        The rate of "adam" and "sgd". "auto" is 3e-3; for "adam" it is 3e-3 min(1, sqrt(784 / n)),
        where n is the number of inputs of the first layer that is trained.

    learning_rate_schedule : {"linear", "constant"}, default="linear"
        "linear" falls from ``learning_rate`` to zero over ``max_iter`` epochs.

    momentum : float in [0, 1), default=0.9
        Momentum of "sgd".

    batch_size : int >= 1 or "auto", default="auto"
        Largest number of rows in a minibatch of "adam" and "sgd"; "auto" is 256.

    max_iter : int >= 1, default=50
        Epochs of fine-tuning; iterations for "lbfgs".

    tol : float >= 0, default=1e-3
        Training continues only if the loss falls by more than this share of it in
        ``n_iter_no_change`` epochs; with ``early_stopping``, if the held-out score rises by more
        than this.

    n_iter_no_change : int >= 1 or "auto", default="auto"
        See ``tol``. "auto" is 10 epochs, and at least 300 steps, for "adam" and "sgd"; 30
        iterations for "lbfgs", and 10 for the layer on top alone.

    early_stopping : bool, default=False
        Whether to hold out rows, measure the R^2 on them after each epoch of fine-tuning, and
        return the weights with the largest. Pre-training sees no targets and uses all rows.

    validation_fraction : float in (0, 1), default=0.1
        Share of rows with a target held out with ``early_stopping``.

    shuffle : bool, default=True
        Whether each epoch visits the rows in a new order.

    dtype : {"float32", "float64", "bfloat16"}, default="float32"
        Precision of training; "bfloat16" concerns only the products of "adam" and "sgd" (see
        `SparseAutoencoderTransformer`).

    device : str, default="auto"
        Where to fine-tune: "auto", "cpu", "cuda", "cuda:1", "mps". Members have their own.

    data_parallel : bool, default=False
        Whether all processes of ``torch.distributed`` make one fit, each with rows of its own. Each
        calls `fit` or `partial_fit` with its rows, and all end with the same model, which is what
        one process would learn of all rows (docs/guide/distributed.md). ``batch_size`` is that of
        all processes together, and weights are relative to the mean over all. A ValueError if
        ``torch.distributed`` is not initialised, and a RuntimeError if another process fails. In a
        group of one process it has no effect.
        It holds for members too, whatever their own ``data_parallel`` says.

    verbose : bool or int, default=0
        1 prints the start and the end of each training (of the members, of the linear layer and of
        the fine-tuning), and the progress of the fine-tuning as in `SparseAutoencoderTransformer`;
        2 prints every epoch of it. Lines begin with the name of the member, with "linear-layer" or
        "fine-tuning". Members have their own ``verbose`` for their epochs.

    random_state : int, RandomState instance or None, default=None
        Seed of fine-tuning, and of members without their own seed.

    Attributes
    ----------
    autoencoders_ : list of SparseAutoencoderTransformer
        The members with fine-tuned encoders. Their decoders, losses, curves and mean activations
        are those of pre-training (tied decoders are the transposed encoder).
    coef_ : ndarray of shape (n_components,) or (n_outputs, n_components)
        Weights of the layer on top in the scale of y; of the first shape if y has one dimension.
    intercept_ : float or ndarray of shape (n_outputs,)
        Its biases.
    target_mean_, target_scale_ : ndarray of shape (n_outputs,)
        Mean and standard deviation of each output (1 if it is constant), after `partial_fit` of the
        rows that training uses for scaling. Training uses (y - mean) / scale.
    alpha_ : float
        Weight decay: ``alpha``, or what None stood for.
    loss_ : float
        J after training, over the rows with a target, for scaled targets.
    loss_curve_ : list of float
        For each epoch of fine-tuning the mean of J over its minibatches.
    loss_parts_ : dict of {"target", "sparsity", "decay"} to list of float
        The terms of ``loss_curve_``: the mean loss of the targets, the sparsity term, which is 0 in
        fine-tuning, and the weight decay.
    validation_score_curve_ : list of float or None
        R^2 on the held-out rows after each epoch; None without ``early_stopping``.
    largest_activation_ : ndarray of shape (n_components,), float64
        Largest activity of each unit of the fine-tuned code over the rows with a target, as in
        `SparseAutoencoderTransformer`.
    row_sparsity_ : float
        Mean sparsity of the codes of these rows, as in `SparseAutoencoderTransformer`.
    n_iter_, n_steps_ : int
        Epochs (iterations for "lbfgs") and steps of fine-tuning.
    n_features_in_ : int
        Number of features seen by `fit`.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, where X has names that are all strings.

    See Also
    --------
    SparseAutoencoderClassifier : The same for classes.
    StackedSparseAutoencoder : The same for reconstruction: a transformer.
    sklearn.neural_network.MLPRegressor : Such a network with random initial weights.

    References
    ----------
    .. [1] A. Kumar, A. Raghunathan, R. Jones, T. Ma and P. Liang, "Fine-tuning can distort
           pretrained features and underperform out-of-distribution", ICLR 2022.
    .. [2] P. Vincent, H. Larochelle, I. Lajoie, Y. Bengio and P.-A. Manzagol, "Stacked denoising
           autoencoders", Journal of Machine Learning Research 11, 2010.
    .. [3] N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever and R. Salakhutdinov, "Dropout: a
           simple way to prevent neural networks from overfitting", Journal of Machine Learning
           Research 15, 2014.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.model_selection import train_test_split
    >>> from sksae import SparseAutoencoderRegressor, SparseAutoencoderTransformer
    >>> X_train, X_test, y_train, y_test = train_test_split(
    ...     *load_diabetes(return_X_y=True), random_state=0
    ... )
    >>> autoencoders = [SparseAutoencoderTransformer(20, rho=0.2, max_iter=50)]
    >>> model = SparseAutoencoderRegressor(autoencoders, random_state=0).fit(X_train, y_train)
    >>> model.score(X_test, y_test) > 0.3
    True
    """

    _make_autoencoder = SparseAutoencoderTransformer
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **SupervisedStack._parameter_constraints,
        "alpha": [*constraints.TRAINING["alpha"], None],
    }

    _name_of_top: ClassVar[str] = "linear-layer"

    def __init__(
        self,
        autoencoders: Autoencoders = None,
        *,
        pretrain: bool = True,
        freeze: int | None = None,
        unlabeled: float | str | bool | None = False,
        decay: Literal["top", "all"] = "top",
        alpha: float | None = None,
        noise: Literal["gaussian", "masking"] | None = None,
        noise_level: float = NOISE_LEVEL,
        dropout: float = 0.0,
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
        self.pretrain = pretrain
        self.freeze = freeze
        self.unlabeled = unlabeled
        self.decay = decay
        self.alpha = alpha
        self.noise = noise
        self.noise_level = noise_level
        self.dropout = dropout
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

    @fits_together
    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: ArrayLike | sp.sparray | sp.spmatrix,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train the members one after another, then encoders and the layer on top together.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Numbers. A row whose outputs are all the mark (``unlabeled``) has no target.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weight of each row, in all trainings.

        Returns
        -------
        self : SparseAutoencoderRegressor
            Fitted.

        Raises
        ------
        TypeError
            If a member is not a `SparseAutoencoderTransformer`.
        NotFittedError
            With ``pretrain=False`` if a member is not fitted.
        ValueError
            If a parameter or the data is invalid; if no row has a target; if the shapes of fitted
            members do not fit together; if the loss becomes infinite or nan.
        """
        return self._fit(X, y, sample_weight)

    @available_if(goes_by_minibatches)
    @fits_together
    @_fit_context(prefer_skip_nested_validation=False)
    def partial_fit(
        self,
        X: ArrayLike | sp.sparray | sp.spmatrix,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train on the rows given in one pass, in minibatches, at the constant learning rate.

        The first call trains the members first (if ``pretrain``) on its rows: give it many rows, or
        fit the members to more rows and use ``pretrain=False``. The layer on top starts at zeros.
        Both start again with a later piece in three cases: all earlier rows were equal; there were
        fewer than 100 of them and at most a tenth as many as in this piece; or, within the first
        10000 rows, they have quite another scale. If the first member's scaling is wrong by less
        (see `SparseAutoencoderTransformer.partial_fit`), and its first layer is not frozen, this
        layer is rescaled and codes stay the same. ``target_mean_`` and ``target_scale_`` are
        updated in the same way, and predictions stay the same, unless the scale changes by more
        than a factor of 4, or the mean by four scales. Each call needs at least one row with a
        target.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Numbers. A row whose outputs are all the mark (``unlabeled``) has no target.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weight of each row, 1 by default. Weights are relative to those of all rows
            seen so far: a step on rows with a target that have r times the usual weight counts as r
            steps, with their weight decay; r is at most 10.

        Returns
        -------
        self : SparseAutoencoderRegressor
            Fitted.

        Raises
        ------
        ValueError
            As `fit`; if ``early_stopping`` is set.
        AttributeError
            If ``solver`` is "lbfgs", which needs all rows at once; then there is no such method.
        """
        return self._partial_fit(X, y, sample_weight, None)

    def predict(self, X: ArrayLike | sp.sparray | sp.spmatrix) -> np.ndarray:
        """Return the predicted numbers of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            In the shape of the targets, in the precision of X, or float64 if they overflow in it.

        Raises
        ------
        NotFittedError
            If the regressor is not fitted.
        ValueError
            If X is invalid; if predictions are beyond that precision.
        """
        scaled = self._output(X)
        limits = np.finfo(scaled.dtype)
        largest = np.abs([self.target_mean_, self.target_scale_]).max()
        has_room = largest < limits.max / ROOM and self.target_scale_.min() > limits.tiny * ROOM
        dtype = scaled.dtype if has_room else np.dtype(np.float64)
        with np.errstate(all="ignore"):
            found = scaled * self.target_scale_.astype(dtype)
            found += self.target_mean_.astype(dtype)
        if not np.isfinite(found).all():
            raise ValueError(
                "X holds rows so far from those of training that what is predicted of them is "
                f"beyond the range of {found.dtype}."
            )
        return found[:, 0] if self.coef_.ndim == 1 else found

    @np.errstate(all="ignore")
    def score(
        self,
        X: ArrayLike | sp.sparray | sp.spmatrix,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Return R^2 of the prediction, as :func:`sklearn.metrics.r2_score` does.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Numbers.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weight of each row.

        Returns
        -------
        score : float
            The mean over outputs; at most 1.

        Raises
        ------
        NotFittedError
            If the regressor is not fitted.
        ValueError
            As `predict`; if y or a weight is invalid.
        """
        # Imported here: `import sksae` must cost little.
        from sklearn.metrics import r2_score

        predicted, weight = self.predict(X), checked_weight(sample_weight, X)
        with errors_about("y"):
            wanted = check_array(y, dtype=np.float64, ensure_2d=False, input_name="y")
            check_consistent_length(X, wanted)
        # Of both over a power of two, whose squares are ordinary numbers.
        exponent = exponent_of(max(np.abs(wanted).max(), np.abs(predicted).max()))
        wanted, predicted = (np.ldexp(each, -exponent) for each in (wanted, predicted))
        return float(r2_score(wanted, predicted, sample_weight=weight))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = True
        return tags

    def _read_targets(
        self,
        y: ArrayLike,
        weight: np.ndarray | None,
        *,
        resume: bool,
        in_pieces: bool,
        classes: ArrayLike | None,
    ) -> SupervisedTarget:
        numbers = read_numbers(y, self.unlabeled, weight, in_pieces=in_pieces)
        seen, scaling = numbers.seen, first_scaling(numbers.seen)
        if resume:
            in_use = TargetScaling(self.target_mean_, self.target_scale_)
            seen, scaling = next_scaling(Seen(**self._seen), numbers.seen, in_use)
        return SupervisedTarget(
            values=scaled_targets(numbers, _num_samples(y), scaling),
            loss="squared_error",
            index=numbers.index,
            weight=weight,
            n_outputs=len(scaling.mean),
            piece=numbers.seen,
            seen=seen,
            attributes={
                "target_mean_": scaling.mean,
                "target_scale_": scaling.scale,
                "_is_1d": numbers.is_1d,
            },
        )

    def _resolve_alpha(
        self, codes: np.ndarray, target: SupervisedTarget, *, is_frozen: bool
    ) -> float:
        if self.alpha is not None:
            return float(self.alpha)
        index = target.index
        weight = None if target.weight is None else target.weight[index]
        alpha = best_decay(codes[index], target.values[index], weight)
        return alpha if is_frozen else FINE_TUNED * alpha

    def _top_again(self, described: dict[str, Any]) -> Layer:
        top, before = self._top(), TargetScaling(self.target_mean_, self.target_scale_)
        after = TargetScaling(described["target_mean_"], described["target_scale_"])
        return rescaled_top(top, before, after)

    def _top(self) -> Layer:
        # In the coordinates of training, those of the scaled target.
        coef = self.coef_.reshape(len(self.target_mean_), -1).T
        intercept = (np.atleast_1d(self.intercept_) - self.target_mean_) / self.target_scale_
        return Layer(coef / self.target_scale_, intercept, {}, "identity")

    def _top_attributes(self, top: Layer, described: dict[str, Any]) -> dict[str, Any]:
        mean, scale = described["target_mean_"], described["target_scale_"]
        # In float64, which has room for the units of y.
        coef = (top.coef * scale).T
        intercept = top.intercept * scale + mean
        if not (np.isfinite(coef).all() and np.isfinite(intercept).all()):
            raise ValueError(
                "The values of y are so large that weights in their units are beyond the range of "
                "float64: divide y by a constant."
            )
        if described["_is_1d"]:
            coef, intercept = coef[0], float(intercept[0])
        return {"coef_": coef, "intercept_": intercept, **described}
