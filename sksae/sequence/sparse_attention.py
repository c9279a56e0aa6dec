"""SparseAttentionEncoder: codes of tokens that know the other tokens of their row."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike
from sklearn.base import _fit_context
from sklearn.callback import with_callbacks
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils._param_validation import Interval, RealNotInt, StrOptions
from sklearn.utils.validation import check_is_fitted

from sksae.base import constraints
from sksae.base.attributes import check_goes_on
from sksae.base.available import check_holds_out_none
from sksae.base.checkpoint import checkpointed
from sksae.base.fit_callbacks import FitCallbacks
from sksae.base.inputs import checked_weight, unseen_on_failure
from sksae.model.attention import POSITIONS, TOKEN_SPARSITIES, AttentionNetwork
from sksae.model.codes import active_above
from sksae.model.numbers import Matrix
from sksae.process.interrupts import ending_when_interrupted
from sksae.process.warning import speaking_for, warn_user
from sksae.sequence.attention_attributes import (
    attributes_of_fit,
    attributes_of_network,
    fitted_in,
    network_in,
)
from sksae.sequence.inputs import checked_sequences
from sksae.sequence.over_tokens import OverTokens
from sksae.sequence.pooling import POOLINGS, checked_pooling
from sksae.sequence.tokens import check_segments, length_of, lengths_of, tokens_of
from sksae.training.attention import AttentionSpecification, make_attention_plan
from sksae.training.attention_fit import (
    attention_fit_of,
    train_attention_plan,
    warn_of_attention_end,
)
from sksae.training.attention_start import TokenRows
from sksae.training.moments import well_scaled

USUAL_RHO = 0.05


class SparseAttentionEncoder(OverTokens):
    r"""Learn sparse codes of tokens that know the other tokens of their row, then pool them by row.

    A row is a sequence of tokens of one width, one after another: windows of a signal, sentences of
    a document, patches of a picture. Blocks of self-attention let each token take from others what
    belongs to it; then a sparse code of it is made, and decoded to the token. Some tokens are
    masked in training, and must be rebuilt from the others. There are no labels. `transform` tells
    of each unit how strong it was over the tokens of a row at most, on average, and in what share
    of tokens it was active.

    Let z be the tokens minus their mean and divided by one scalar, such that their mean squared
    norm is 36. A token begins as :math:`h = W_e z + b_e + p_t` with a vector :math:`p_t` for its
    place t; in the place of a masked token's :math:`W_e z + b_e` stands a learnt vector. Each block
    adds attention of several heads and a feed-forward layer [1]_ [2]_,

    .. math::

        h \leftarrow h + \mathrm{Attention}(\mathrm{norm}(h)), \qquad
        h \leftarrow h + W_2 \, \mathrm{gelu}(W_1 \, \mathrm{norm}(h) + b_1) + b_2 .

    In a head of d units, :math:`S = Q K^T / \sqrt d` are the scores of each token's query with each
    token's key. Each query keeps its k strongest scores [3]_,

    .. math::

        A = \mathrm{softmax}(M(S)) V, \qquad
        M(S)_{ij} = \begin{cases} S_{ij} & S_{ij} \ge t_i \\ -\infty & S_{ij} < t_i \end{cases}

    where :math:`t_i` is the k-th largest score of row i; scores that equal it but for rounding are
    all kept. What is not kept has weight 0, and its score has no gradient. At last a linear layer
    makes the pre-activations of the code a of each token, and another one, the decoder, the token
    :math:`\hat z = W_d a + b_d`. Training minimises

    .. math::

        J = \frac{1}{\sum_i w_i c_i} \sum_i w_i c_i \tfrac12 \lVert \hat z_i - z_i \rVert^2
            + \beta S(a) + \frac{\alpha}{2} \sum_l \lVert W_l \rVert_F^2

    over all tokens i; w is the ``sample_weight`` of their rows, and c is 1 for masked tokens and
    ``visible_weight`` for visible ones. Visible tokens count too, as their codes are what a fitted
    model gives. S is the sparsity term of :class:`~sksae.SparseAutoencoderTransformer`, of tokens
    instead of rows. torch's autograd finds the gradients.

    Shorter rows end in tokens of NaN, which are left out wherever they stand; `pad_tokens` makes
    such rows. A single NaN in a token is a missing value: the mean of that feature stands for it.

    Parameters
    ----------
    n_components : int, default=100
        Units of the code of a token; at least 1.
    token_width : int, default=None
        Features of a token, which divide those of a row; at least 1. None: each row is one token,
        which has no others to take from.
    attention_density : float in (0, 1] or int >= 1, default=0.25
        How many scores each query keeps: a share of the tokens of the row that are not left out,
        rounded up, and two at least; or a number of tokens, at most as many as rows have. Shorter
        rows keep what they have. 1.0 is full attention. With the number 1 there is a warning: the
        weight of a single score is always 1, so that queries and keys learn nothing.
    n_blocks : int, default=2
        Blocks, at least 1.
    n_heads : int, default=4
        Heads of attention in each; they divide ``d_model``.
    d_model : int, default=64
        Units of a token between blocks, at least 1.
    dim_feedforward : int, default=128
        Units inside the feed-forward layers, at least 1.
    positions : {"learned", "sinusoidal"}, default="learned"
        What tells the place of a token in its row: a vector that is learnt for each place, or
        sines and cosines of the place [1]_. Tokens that are left out have a place too.
    mask_fraction : float in [0, 1), default=0.5
        Share of the tokens of a row that are masked, drawn anew in each epoch. One token of a row
        always stays visible. With 0 no token has to be rebuilt from others.
    visible_weight : float in (0, 1], default=0.2
        What the error of a visible token counts, c in J above. A visible token is rebuilt without
        the others, so that with more of this weight codes tell less of them. Without effect where
        no token is masked.
    dropout : float in [0, 1), default=0.0
        Share of units that are 0 in each step of training: of tokens with their places, and of what
        attention and feed-forward layers add.
    sparsity : {"kl", "l1", "l2", "topk", "batchtopk"} or None, default="kl"
        What makes the codes of tokens sparse. "kl" makes sigmoid units rare; all others have relu
        units. "l1" and "l2" make activations small. "topk" keeps the largest activations of each
        token, "batchtopk" those of all tokens of a minibatch, and after the fit what exceeds
        ``threshold_``.
    rho : float in (0, 1) or int >= 1, default=0.05
        Wanted share of active units; an int is a number of units, less than ``n_components``. It is
        the target of "kl", whose mean activation is that over the tokens of a minibatch, and the
        number of active units of "topk" and "batchtopk", after rounding. Without effect (and a
        warning, if set) otherwise.
    beta : float >= 0 or None, default=None
        Weight of the sparsity term. None is 6.0 for "kl", 0.12 for "l1" and 0.3 for "l2". Without
        effect (and a warning) if ``sparsity`` is None; an error with "topk" and "batchtopk".
    alpha : float >= 0, default=1e-4
        Weight decay, on the weights of linear layers only.
    pooling : sequence of {"max", "mean", "active_share"}, default=("max", "mean", "active_share")
        What is told of each unit over the tokens of a row: its largest activation, its mean
        activation, and the share of tokens in which it is active: not 0, or for "kl" above half of
        its ``largest_activation_``; in that order. At least one, each once.
    n_segments : int, default=1
        Into so many parts of nearly equal length a row is cut by the places of its tokens, and each
        is pooled by itself; at least 1, at most the tokens of a row.
    learning_rate : float > 0 or "auto", default="auto"
        Rate of Adam [4]_. "auto" is 0.01 min(1, 64 / d_model) for "kl" and 0.003 min(1, 64 /
        d_model) for others, whose units die of long steps. It rises over the first 200 steps, a
        quarter of all steps at most.
    learning_rate_schedule : {"linear", "constant"}, default="linear"
        "linear" falls to zero over ``max_iter`` epochs, or faster once the loss has settled (see
        ``tol``).
    batch_size : int >= 1 or "auto", default="auto"
        Largest number of rows in a minibatch. "auto" is as many as have 512 tokens, but at least 16
        and at most 256, and an eighth of the training rows if that is less, but at least 16.
    max_iter : int >= 1, default=200
        Largest number of epochs.
    tol : float >= 0, default=0.02
        The loss has settled when ``n_iter_no_change`` epochs in a row have not lowered it by more
        than this share of it (or, with ``early_stopping``, not raised the held-out R^2 by more than
        this). A "linear" rate then falls to zero over as many more epochs; otherwise training ends.
    n_iter_no_change : int >= 1, default=10
        See ``tol``.
    early_stopping : bool, default=False
        Whether to hold out rows, measure their `score` after each epoch, and return the parameters
        with the largest.
    validation_fraction : float in (0, 1), default=0.1
        Share of rows held out with ``early_stopping``.
    warm_start : bool, default=False
        Whether `fit` continues from the end of the last fit, for ``max_iter`` more epochs, with
        its ``mean_`` and ``scale_``.
    dtype : {"float32", "float64"}, default="float32"
        Precision of training. `transform` computes in the precision of its input.
    device : str, default="auto"
        "auto" (CUDA if there is one, else the CPU), "cpu", "cuda", "cuda:1", "mps". A fitted
        model whose device is missing computes on the CPU, with a warning.
    verbose : bool or int, default=0
        1 prints some epochs of the training and why it ended, 2 every epoch.
    random_state : int, RandomState instance or None, default=None
        Seed of initial parameters, minibatches, masks, dropout and held-out rows. With an int, the
        same data, parameters, device and number of threads give the same bits.

    Attributes
    ----------
    parameters_ : dict of str to ndarray
        What was learnt, by the names of the layers; weights are (n_out, n_in).
    components_ : ndarray of shape (n_components, token_width)
        Atoms: what an activation of 1 of each unit adds to a token, in the scale of X.
    mean_ : ndarray of shape (token_width,), float64
        Mean of each feature over the training tokens that have it.
    scale_ : float
        The divisor of all features; 1.0 if tokens are all alike.
    length_ : int
        Tokens of a row at most.
    threshold_ : float or None
        For "batchtopk": a unit is active above this pre-activation, at least 0, which as many
        pre-activations of the training tokens exceed as ``rho`` says. None for others.
    beta_ : float or None
        Weight of the sparsity term, if there is one.
    mean_activation_, active_share_ : ndarray of shape (n_components,), float64
        Weighted mean of each unit's activation over the training tokens, and the share of them in
        which it is active (see ``pooling``); no token is masked. After `partial_fit` of the last
        rows given.
    largest_activation_ : ndarray of shape (n_components,), float64
        Largest activation of each unit over the training tokens, of all pieces.
    loss_curve_ : list of float
        For each epoch the mean of J over its minibatches.
    loss_parts_ : dict of {"reconstruction", "sparsity", "decay"} to list of float
        The terms of ``loss_curve_``.
    validation_score_curve_ : list of float or None
        `score` of the held-out rows after each epoch; None without ``early_stopping``.
    n_iter_ : int
        Epochs completed so far, and passes of `partial_fit`.
    n_steps_ : int
        Steps of the solver so far.
    n_features_in_ : int
        Features of a row: ``length_`` times the width of a token.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, if X had any that are strings.

    See Also
    --------
    TokenCodes : Codes of tokens that know nothing of the others, at a fraction of the time.
    pad_tokens : Makes rows of one length from tokens and what they belong to.

    Notes
    -----
    Time and memory of attention grow with the square of the number of tokens, for any density: all
    scores are computed before the strongest are known. What a smaller density buys is that each
    token names the few that it takes from (`attention_weights`).

    "topk" and "batchtopk": a unit is dead if it was active in no token for an epoch and for 20
    steps. The largest pre-activations among dead units rebuild the error of each token, and half of
    what they miss, squared, is added to its loss, not to ``loss_curve_``; only dead units learn of
    it [5]_.

    References
    ----------
    .. [1] A. Vaswani et al., "Attention is all you need", NeurIPS 2017, arXiv:1706.03762.
    .. [2] R. Xiong et al., "On layer normalization in the transformer architecture", ICML 2020,
           arXiv:2002.04745.
    .. [3] G. Zhao et al., "Explicit sparse transformer: concentrated attention through explicit
           selection", 2019, arXiv:1912.11637.
    .. [4] D. Kingma and J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.
    .. [5] L. Gao et al., "Scaling and evaluating sparse autoencoders", 2024, arXiv:2406.04093
           (auxiliary loss).

    To mask tokens and rebuild them is the training of J. Devlin et al., "BERT: pre-training of deep
    bidirectional transformers for language understanding", NAACL 2019, arXiv:1810.04805, of numbers
    instead of words.

    Examples
    --------
    Pictures of 8 x 8 points as eight tokens, their lines:

    >>> from sklearn.datasets import load_digits
    >>> from sksae.sequence import SparseAttentionEncoder
    >>> X = load_digits().data[:300]
    >>> encoder = SparseAttentionEncoder(16, token_width=8, max_iter=3, tol=1.0, random_state=0)
    >>> encoder.fit_transform(X).shape
    (300, 48)
    >>> encoder.tokens(X).shape
    (300, 8, 16)

    Each line takes from two of the eight, in each of two blocks and four heads:

    >>> weights = encoder.attention_weights(X[:5])
    >>> weights.shape
    (5, 2, 4, 8, 8)
    >>> print((weights > 0).sum(axis=-1).max())
    2
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "token_width": [Interval(Integral, 1, None, closed="left"), None],
        "attention_density": [
            Interval(RealNotInt, 0, 1, closed="right"),
            Interval(Integral, 1, None, closed="left"),
        ],
        "n_blocks": [Interval(Integral, 1, None, closed="left")],
        "n_heads": [Interval(Integral, 1, None, closed="left")],
        "d_model": [Interval(Integral, 1, None, closed="left")],
        "dim_feedforward": [Interval(Integral, 1, None, closed="left")],
        "positions": [StrOptions(set(POSITIONS))],
        "mask_fraction": [Interval(Real, 0, 1, closed="left")],
        "visible_weight": [Interval(Real, 0, 1, closed="right")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "sparsity": [StrOptions({name for name in TOKEN_SPARSITIES if name is not None}), None],
        "rho": [
            Interval(RealNotInt, 0, 1, closed="neither"),
            Interval(Integral, 1, None, closed="left"),
        ],
        "beta": [Interval(Real, 0, None, closed="left"), None],
        "pooling": ["array-like", str],
        "n_segments": [Interval(Integral, 1, None, closed="left")],
        "warm_start": ["boolean"],
        **{
            name: constraints.TRAINING[name]
            for name in (
                "alpha",
                "learning_rate",
                "learning_rate_schedule",
                "batch_size",
                "max_iter",
                "tol",
                "early_stopping",
                "validation_fraction",
                "device",
                "verbose",
                "random_state",
            )
        },
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "dtype": [StrOptions({"float32", "float64"})],
    }

    def __init__(
        self,
        n_components: int = 100,
        *,
        token_width: int | None = None,
        attention_density: float = 0.25,
        n_blocks: int = 2,
        n_heads: int = 4,
        d_model: int = 64,
        dim_feedforward: int = 128,
        positions: Literal["learned", "sinusoidal"] = "learned",
        mask_fraction: float = 0.5,
        visible_weight: float = 0.2,
        dropout: float = 0.0,
        sparsity: Literal["kl", "l1", "l2", "topk", "batchtopk"] | None = "kl",
        rho: float = USUAL_RHO,
        beta: float | None = None,
        alpha: float = 1e-4,
        pooling: Sequence[str] = POOLINGS,
        n_segments: int = 1,
        learning_rate: Literal["auto"] | float = "auto",
        learning_rate_schedule: Literal["linear", "constant"] = "linear",
        batch_size: Literal["auto"] | int = "auto",
        max_iter: int = 200,
        tol: float = 0.02,
        n_iter_no_change: int = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        warm_start: bool = False,
        dtype: Literal["float32", "float64"] = "float32",
        device: str = "auto",
        verbose: bool | int = 0,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_components = n_components
        self.token_width = token_width
        self.attention_density = attention_density
        self.n_blocks = n_blocks
        self.n_heads = n_heads
        self.d_model = d_model
        self.dim_feedforward = dim_feedforward
        self.positions = positions
        self.mask_fraction = mask_fraction
        self.visible_weight = visible_weight
        self.dropout = dropout
        self.sparsity = sparsity
        self.rho = rho
        self.beta = beta
        self.alpha = alpha
        self.pooling = pooling
        self.n_segments = n_segments
        self.learning_rate = learning_rate
        self.learning_rate_schedule = learning_rate_schedule
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.dtype = dtype
        self.device = device
        self.verbose = verbose
        self.random_state = random_state

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: ArrayLike | sp.sparray | sp.spmatrix,
        y: object = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Learn codes of tokens by rebuilding tokens, some of them masked.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, length * token_width)
            Rows. Tokens of NaN alone are left out, and rows of such tokens too; in a sparse matrix
            there are none.
        y : None
            Ignored, present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weight of each row, which each of its tokens has; rows of weight 0 are left
            out.

        Returns
        -------
        self : SparseAttentionEncoder
            Fitted.

        Raises
        ------
        ValueError
            If ``token_width`` does not divide the number of features, or ``n_heads`` not
            ``d_model``; if ``attention_density`` as a number of tokens, or ``n_segments``, is more
            than the tokens of a row; if no row has a token; if another parameter or the data is
            invalid; if the loss becomes infinite or nan. A ``warm_start`` with other sizes than
            before is an error too.

        Warns
        -----
        UserWarning
            If ``rho`` or ``beta`` is set and has no effect with the ``sparsity``; if
            ``attention_density`` is the number 1.
        ConvergenceWarning
            If ``max_iter`` ended the training while the loss still fell by more than ``tol``; if
            tokens are rebuilt no better than by their mean; or if more than 1 % of the units are
            dead.
        """
        resume = self.warm_start and hasattr(self, "parameters_")
        return self._fit(X, y, sample_weight, resume=resume)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: ArrayLike | sp.sparray | sp.spmatrix,
        y: object = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train on the rows given in one pass, in minibatches, at the constant learning rate.

        ``mean_`` and ``scale_`` are those of the first piece in which tokens differ. The rate rises
        over the first 200 steps of all pieces.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, length * token_width)
            Rows.
        y : None
            Ignored, present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weight of each row, relative to the others of this piece.

        Returns
        -------
        self : SparseAttentionEncoder
            Fitted.

        Raises
        ------
        ValueError
            If ``early_stopping`` is set, and as from `fit`.
        """
        check_holds_out_none(self)
        resume = hasattr(self, "parameters_")
        return self._fit(X, y, sample_weight, resume=resume, one_pass=True)

    def attention_weights(self, X: ArrayLike | sp.sparray | sp.spmatrix) -> np.ndarray:
        """Return how much each token takes from each other token of its row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, length * token_width)
            Rows, as many features as in `fit`.

        Returns
        -------
        weights : ndarray of shape (n_samples, n_blocks, n_heads, length, length)
            Of queries (next to last axis) with keys (last axis): the softmax of the scores that are
            kept, and 0 for others and for tokens that are left out. Over keys they sum to 1. NaN
            where the query is a token that is left out. In the precision of X.

        Raises
        ------
        NotFittedError
            If it is not fitted.
        ValueError
            If X is invalid, or has other features than the training rows.
        """
        from sksae.engine.attention import inference

        check_is_fitted(self)
        X = checked_sequences(self, X)
        return inference.attention_weights(network_in(vars(self)), X, self.device)

    def score(
        self,
        X: ArrayLike | sp.sparray | sp.spmatrix,
        y: object = None,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Return R^2 of tokens that are rebuilt from the others of their row.

        Every n-th token of a row is masked, for n = 1 / ``mask_fraction`` rounded and at least 2,
        in n turns, so that each token is masked once. The only token of a row is rebuilt unmasked,
        and so are all tokens if ``mask_fraction`` is 0.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, length * token_width)
            Rows.
        y : None
            Ignored, present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weight of each row, which each of its tokens has.

        Returns
        -------
        score : float
            1 - sum_i w_i ||x_hat_i - x_i||^2 / sum_i w_i ||x_i - mean||^2 over all tokens i, with
            their own weighted mean; at most 1. nan for fewer than two tokens.

        Raises
        ------
        NotFittedError
            If it is not fitted.
        ValueError
            If X or a weight is invalid, if there is no token, or if the score overflows.
        """
        from sksae.engine.attention import inference

        check_is_fitted(self)
        X = checked_sequences(self, X)
        rows = self._token_rows(X, checked_weight(sample_weight, X, as_given=True))
        weight, index = rows.counted_weight, None
        if weight is not None:
            index = np.flatnonzero(weight)
        if (rows.n_tokens if index is None else rows.n_tokens[index]).sum() < 2:
            warn_user("R^2 is not well-defined with less than two tokens.", UndefinedMetricWarning)
            return float("nan")
        found = inference.masked_score(
            network_in(vars(self)),
            X,
            self.device,
            float(self.mask_fraction),
            index=index,
            sample_weight=well_scaled(rows.weight),
        )
        if not np.isfinite(found):
            raise ValueError("R^2 overflows: rows of X are too far from those in fit.")
        return found

    @property
    def components_(self) -> np.ndarray:
        """Atoms: what an activation of 1 adds to a token, shape (n_components, token_width).

        Raises
        ------
        NotFittedError
            If it is not fitted.
        """
        check_is_fitted(self)
        return self.parameters_["decode.weight"].T * self.scale_

    def _fit(
        self,
        X: ArrayLike | sp.sparray | sp.spmatrix,
        y: object,
        sample_weight: ArrayLike | None,
        *,
        resume: bool,
        one_pass: bool = False,
    ) -> Self:
        """Train, and set the fitted attributes at last: a fit that fails leaves them as they were.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.
        resume : bool
            Whether to go on from what is fitted.
        one_pass : bool, default=False
            Whether to make a single pass at the constant rate, as ``partial_fit`` does.
        """
        checked_pooling(self.pooling)
        with ending_when_interrupted(), speaking_for(self), unseen_on_failure(self):
            X = checked_sequences(self, X, reset=not resume)
            weight = checked_weight(sample_weight, X, as_given=True)
            length = length_of(X.shape[1], self.token_width)
            check_segments(self.n_segments, length)
            rows = self._token_rows(X, weight)
            specification = self._specification()
            specification.warn_of_idle(USUAL_RHO, length)
            if resume:
                check_goes_on(self)
            before = fitted_in(vars(self)) if resume else None
            n_before = 0 if before is None else len(before.record.losses)
            with checkpointed(self, X, weight, goes_on_from=before, in_pieces=one_pass) as draws:
                plan = make_attention_plan(
                    replace(specification, random_state=draws),
                    rows,
                    length,
                    resume_from=before,
                    one_pass=one_pass,
                )
                callbacks = FitCallbacks(
                    self,
                    plan.config,
                    lambda snapshot: attributes_of_network(plan.network(snapshot.flat)),
                    X,
                    y,
                    weight,
                    n_before,
                )
                callbacks.begin()
                trained = train_attention_plan(plan, rows, callbacks.monitor)
            attributes = attributes_of_fit(attention_fit_of(plan, trained, before))
            warn_of_attention_end(trained, plan, rows.tokens.shape[0])
            callbacks.end(attributes)
            for name, value in attributes.items():
                setattr(self, name, value)
        return self

    def _specification(self) -> AttentionSpecification:
        """Return what the parameters ask for."""
        given = {each.name: getattr(self, each.name) for each in fields(AttentionSpecification)}
        return AttentionSpecification(**given)

    def _token_rows(self, X: Matrix, weight: np.ndarray | None) -> TokenRows:
        """Return rows with their tokens.

        Raises
        ------
        ValueError
            If none that counts has any.
        """
        tokens = tokens_of(X, length_of(X.shape[1], self.token_width))
        rows = TokenRows(X, tokens.values, lengths_of(tokens.is_there)[:, 0], weight)
        counted = rows.counted_weight
        if counted is not None and not counted.any():
            raise ValueError("X has no token: all entries of rows of a weight above 0 are NaN.")
        return rows

    def _unit_names(self) -> list[str]:
        prefix = type(self).__name__.lower()
        return [f"{prefix}{unit}" for unit in range(len(self.mean_activation_))]

    def _mask_finder(self) -> Callable[[Matrix], Matrix]:
        architecture = network_in(vars(self)).architecture
        above = active_above(self.largest_activation_, architecture.activation)
        return lambda codes: codes > above

    def _decode(self, codes: np.ndarray) -> np.ndarray:
        """Return ``mean_ + scale_ * (W codes + b)``, of the decoder's W and b."""
        mean = self.mean_ + self.parameters_["decode.bias"] * self.scale_
        return (codes @ self.components_ + mean).astype(codes.dtype)

    def _codes_of_tokens(self, X: Matrix) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        from sksae.engine.attention import inference

        return inference.codes_of_tokens(network_in(vars(self)), X, self.device)

    def __sksae_attention__(self) -> AttentionNetwork:
        """Return what was learnt as one value."""
        check_is_fitted(self)
        return network_in(vars(self))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "parameters_")
