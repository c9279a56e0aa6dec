"""SparseAutoencoderTransformer: parameters, validation and the scikit-learn contract."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike
from sklearn.base import (
    BaseEstimator,
    _fit_context,
)
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval, RealNotInt, StrOptions
from sklearn.utils.validation import check_is_fitted

from sksae.base import constraints
from sksae.base.attributes import (
    fitted_of,
    network_attributes,
    network_of,
    result_attributes,
)
from sksae.base.available import available_if, check_holds_out_none, goes_by_minibatches
from sksae.base.checkpoint import checkpointed
from sksae.base.codes_out import CodesOutMixin
from sksae.base.documentation import DocumentedMixin
from sksae.base.fit_callbacks import FitCallbacks
from sksae.base.inference import decode, encode, encode_sparse, reconstruction_distances
from sksae.base.inputs import (
    check_finite,
    checked_codes,
    checked_rows,
    checked_weight,
    unseen_on_failure,
)
from sksae.base.parameters import rows_told_of, specification_of
from sksae.base.persistence import PersistentMixin
from sksae.base.precomputed import find_fit
from sksae.base.reading import as_configured, as_read, check_output, warn_of_reading
from sksae.base.reconstruction import reconstruction_score, squared_errors
from sksae.base.together import check_same_form, fits_together
from sksae.model.codes import CODES
from sksae.model.network import FittedNetwork
from sksae.model.numbers import Matrix
from sksae.model.pursuit import ALGORITHMS
from sksae.model.scaling import LOSSES
from sksae.process.interrupts import ending_when_interrupted
from sksae.process.processes import processes_in_use
from sksae.process.shortage import IN_TRAINING, explained_shortage
from sksae.process.warning import speaking_for
from sksae.training.advice import unusual_parameters, warn_before_training
from sksae.training.fit import network_of_plan, result_of, successful, train_plans
from sksae.training.outcome import warn_of_end
from sksae.training.plan import make_plan
from sksae.training.specification import Specification

ActivationName = Literal["sigmoid", "tanh", "relu", "prelu", "identity"]

ACTIVATION_NAMES = {"sigmoid", "tanh", "relu", "prelu", "identity"}


class SparseAutoencoderTransformer(
    DocumentedMixin,
    PersistentMixin,
    CallbackSupportMixin,
    CodesOutMixin,
    BaseEstimator,
):
    r"""Learn sparse codes of rows with an autoencoder.

    An encoder turns every row into a code of ``n_components`` activations, most of them near
    zero, and a decoder turns the code back into the row. Both are trained together to minimise

    .. math::

        J = \frac{1}{\sum_i w_i} \sum_i w_i \, l_i
            + \beta S + \frac{\alpha}{2} \sum_l \lVert W_l \rVert_F^2 ,

    where w is the ``sample_weight`` and l is the loss of a row (``loss``),

    .. math::

        l = \tfrac12 \lVert \hat z - z \rVert^2 \quad \text{or} \quad
        l = -\sum_j x_j \ln \hat x_j + (1 - x_j) \ln (1 - \hat x_j) ,

    z is the scaled row (see ``scale_data``), x the row as it is given, with values in [0, 1], and
    S the sparsity term of the code a. With the first loss, the default, J is the objective of the
    UFLDL notes [1]_. S is

    - "kl": :math:`\sum_j \rho \ln(\rho / \hat\rho_j) + (1 - \rho) \ln((1 - \rho) / (1 -
      \hat\rho_j))`, where :math:`\hat\rho_j` is the (weighted) mean over rows of
      :math:`a_j`, or of :math:`(1 + a_j) / 2` for a tanh code;
    - "l1": the mean over rows of :math:`\sum_j |a_{ij}|`;
    - "l2": the mean over rows of :math:`\tfrac12 \sum_j a_{ij}^2`;
    - "topk" and "batchtopk": none. The :math:`k = \rho h` largest positive pre-activations of the
      h units in a row are the code, and all others are 0 [6]_. With "batchtopk" a row of a
      minibatch has k on average, and rows may differ; after the fit the code is what exceeds
      ``threshold_`` [8]_. The loss of "topk" is the mean over ``budgets`` q of l for the output
      :math:`b + \sum_{j \le q} a_j D_j`, where the active units j are sorted by activation, the
      largest first [7]_. Without hidden layers atoms have unit norm, the encoder's weights start
      as the atoms, and units that are active in no row learn the residual of the others (see
      Notes);
    - "jumprelu": :math:`(L_0 / k - 1)^2` with :math:`L_0` the mean over rows of the number of
      active units and :math:`k = \rho h`. Each unit learns a threshold: its activation is the
      pre-activation p if p is above the threshold, and 0 otherwise [10]_;
    - "gated": the mean over rows of :math:`\sum_j \max(p_j, 0)`. A unit is active if its
      pre-activation p is positive, and its activation is then :math:`\max(e^{r_j} p_j + m_j, 0)`;
      r and m are learnt for each unit. J also contains the error of a second reconstruction, from
      :math:`\max(p, 0)`, in which the decoder is constant [11]_.

    Gradients are in closed form, and torch computes them on the CPU or a GPU. A fitted model holds
    only numpy arrays, and so it is pickled, copied and loaded like any other estimator.

    Start with these five parameters: ``n_components``, ``sparsity``, ``rho``, ``beta`` and
    ``random_state``. The others follow in groups: the rest of the objective (``loss`` to
    ``prefixes``), the network (``activation`` to ``tied_weights``), its input (``scale_data`` to
    ``noise_level``), the form of codes (``sparse_output`` to ``transform_algorithm``), training
    (``solver`` to ``warm_start``), and the machine (``dtype`` to ``verbose``).

    Parameters
    ----------
    n_components : int, default=100
        Size of the code, the number of units; at least 1. May exceed the number of features.

    sparsity : {"kl", "l1", "l2", "topk", "batchtopk", "jumprelu", "gated"} or None, default="kl"
        What makes the code sparse, S above. "kl" makes units rare and needs a bounded code (sigmoid
        or tanh). "l1" makes exact zeros; if few directions hold most of the variance, it may leave
        dead units unless ``beta`` is "auto". "l2" makes activations small. "topk" keeps as many
        relu units in each row as ``rho`` says; it is mainly for wide dictionaries of embeddings and
        activations. "batchtopk" keeps as many on average, and more in rows that need more. So does
        "jumprelu", in which each unit learns the threshold of its activity. "gated" learns this
        too, and does not make activations small as "l1" does. The last four are trained by the
        active units alone, with "adam" or "sgd", and their output is not "prelu"; only "topk" may
        have hidden layers.

    rho : float in (0, 1) or int >= 1, default=0.05
        Wanted share of active units. An int is a number of units and is divided by
        ``n_components``; it must be less than that. With a smaller rho rows are sparser, atoms are
        clearer, and R^2 is lower: 0.01 gives oriented edges on patches of natural images. It is the
        target of "kl", of "jumprelu" and of ``beta="auto"``. For "topk" and "batchtopk" it is the
        number of active units, after rounding (a ValueError if this is 0). Without effect (and a
        warning, if set) otherwise.

    beta : float >= 0, "auto" or None, default=None
        Weight of the sparsity term. None is 6.0 for "kl", 0.12 for "l1" and "gated", 0.3 for "l2"
        and "auto" for "jumprelu". If rows do not have the norm that ``scale_data`` gives them (see
        there) it is 1.0 for "kl" and 0.02 for "l1" and "gated". With ``loss="cross_entropy"`` the
        values for rows of that norm are multiplied by D / 18. D is the difference of l between the
        mean row and the row itself (for the squared error it is 18, half the squared norm). Without
        effect if ``sparsity`` is None; an error with "topk" and "batchtopk".

        With "auto", training raises or lowers beta until the activity is within 10 % of rho on the
        training rows; ``beta_`` is the value that was found. The activity of "kl" is the mean over
        units of the mean activation (and beta is the smallest that meets rho). For others it is the
        mean over units of the share of rows in which a unit is not 0 ("jumprelu" and "gated") or
        not negligible ("l1" and "l2"): above 1e-3 of its largest absolute activation. "jumprelu"
        aims at 1 %, and ends within 5 % after as many epochs as ``max_iter="auto"`` stands for. If
        rho is not met, a ConvergenceWarning says which activity was reached. "adam" and "sgd"
        reserve 15 % of ``max_iter`` for epochs at a tenth of the learning rate, which run only as
        long as rho is not met. With ``early_stopping`` only weights that meet rho can be the best
        ones. "lbfgs" runs in rounds, each with one beta. If the last epochs or iterations leave rho
        again, the weights and beta of the last one that met it are returned. With "l1", without
        hidden layers and with "adam" or "sgd", units that are active in no row start again where
        the error is largest. "l2" makes units small rather than inactive, and so a small rho leaves
        a very poor reconstruction. A ValueError if ``sparsity`` is None.

    loss : {"squared_error", "cross_entropy"}, default="squared_error"
        The loss l of a row, see above. With "cross_entropy" the values of X are probabilities:
        pixels that are on or off, grey values from 0 to 1, words that are present or not. Values
        outside [0, 1] are a ValueError. The output is a sigmoid of the row in the scale of X, and
        so reconstructions lie in [0, 1] too; only the encoder sees z. l is a sum over features, and
        others take the mean [13]_: a penalty that others add to the mean is n_features times as
        large here. `score` is R^2 with both losses. In a stack a later member may have this loss if
        the code before it is sigmoid.

    alpha : float >= 0 or None, default=None
        Weight decay (lambda in UFLDL), on weights only: biases and prelu slopes do not decay. None
        is 0.012 min(1, sqrt(64 / n_features)) for "kl" and 0.001 otherwise; with hidden layers
        0.001 for "kl" and 1e-4 otherwise; and 1e-4 where rows do not have the norm that
        ``scale_data`` gives them. With ``loss="cross_entropy"`` it is 0.002 for "kl" without
        hidden layers, for any number of features, and otherwise as for rows of that norm. Codes
        that are trained by the active units alone have 0; another value acts on the encoder alone,
        because atoms have unit norm (with ``tied_weights`` it has no effect and warns). With a
        larger alpha atoms are smoother and R^2 is lower; above 0.1 the weights of all units may
        decay to zero.

    budgets : sequence of float or int, "auto" or None, default="auto"
        For "topk": numbers of active units with which the loss rebuilds a row, besides all k of
        them. They are shares of k in (0, 1], rounded up, or numbers of units from 1 to k, in
        increasing order. "auto" is (0.25, 0.5), None is k alone. With budgets a model can be read
        with fewer active units (``transform_n_active``). With all k it rebuilds a little less, and
        it more often learns atoms that occur together as one. With hidden layers and "batchtopk" it
        is k alone, and anything else is a ValueError; without effect (and a warning, if set) for
        other codes.

    prefixes : sequence of float or int, or None, default=None
        For "topk" and "batchtopk": numbers m of first units. The loss rebuilds a row by the active
        units among the first m, for each m and for all units. They are shares of ``n_components``
        in (0, 1], rounded up, or numbers of units, in increasing order. J is the mean over m of
        :math:`\tfrac12 \lVert b + \sum_{j \le m} a_j D_j - z \rVert^2` [9]_. The first units must
        rebuild rows alone and learn what is general, and later ones what is special. The active
        units are selected once for all prefixes. Prefixes replace ``budgets``: budgets other than
        "auto" and None are a ValueError then, and so are hidden layers. Without effect (and a
        warning) for other codes.

    activation : {"auto", "sigmoid", "tanh", "relu", "prelu", "identity"}, default="auto"
        Activation of the code. "auto" is sigmoid for "kl" and relu otherwise; "jumprelu" and
        "gated" have their own activations and accept only "auto". prelu learns one slope per unit.

    output_activation : {"auto", "identity", "sigmoid", "tanh", "relu", "prelu"}, default="auto"
        Activation of the output, in the space of z. "auto" is identity, and sigmoid with
        ``loss="cross_entropy"``, which accepts no other.

    hidden_layer_sizes : sequence of int, default=()
        Numbers of units of the layers between input and code; the decoder mirrors them. Choose
        "adam" for such networks: with "lbfgs" many of their units die and training may not leave
        the start, and "sgd" is slow. In relu codes units may die that the reconstruction does not
        need.

    hidden_activation : {"relu", "sigmoid", "tanh", "prelu", "identity"}, default="relu"
        Activation of these layers. "prelu" units do not die, and rebuild as well as "relu" or
        better.

    tied_weights : bool, default=False
        Whether each layer of the decoder has the transposed weights of the encoder layer that it
        mirrors. Both count in the weight decay of J.

    scale_data : bool, default=True
        Whether to train on ``z = c + (X - mean_) / scale_``, with one mean per feature and one
        scalar for the whole matrix. z - c has a mean squared norm of 36 for any number of features.
        Codes then do not depend on the scale of X, and rho, beta, alpha and the learning rate mean
        the same on every data set. The norm sets the scale of activations: with a much smaller
        norm, all units of a sigmoid code would be active a little in every row. Outputs with a
        bounded range need a smaller norm: for a sigmoid or tanh output it is that of UFLDL's 8x8
        patches, 64 * (0.4/3)**2 = 1.14, with a standard deviation of the entries of at most 0.4/3,
        and c is 0.5 for a sigmoid output (0 otherwise). With ``loss="cross_entropy"`` the output is
        not z, and the norm is 36. If features have different scales, scale each of them first, for
        example by a ``StandardScaler``. Otherwise the feature with the largest scale is nearly all
        of the norm, and units are levels of it and not sparse. With False z is X itself. In both
        cases `transform` takes and `inverse_transform` returns rows in the scale of X.

    noise : {"gaussian", "masking"} or None, default=None
        How training rows are corrupted, anew in each epoch; the clean row remains the target [5]_.
        "gaussian" adds normal noise to every entry. "masking" sets entries to the mean of their
        feature, or to 0 if ``scale_data`` is False. With "lbfgs" each row is corrupted once for all
        iterations. The sparsity term, and rho if ``beta`` is "auto", act on the codes of corrupted
        rows; ``loss_``, ``mean_activation_`` and scores are those of clean rows.

    noise_level : float >= 0, default=0.3
        For "gaussian": the standard deviation of the noise, as a multiple of the standard deviation
        of all entries of X, or in the scale of X if ``scale_data`` is False. For "masking": the
        share of entries, below 1. To repair rows, use the level of their own noise. Without effect
        (and a warning, if set) if ``noise`` is None.

    sparse_output : bool, default=False
        Whether `transform` returns a CSR matrix. It then makes codes some hundred rows at a time
        and keeps only their entries: 26 MB instead of 6.6 GB for 100 000 rows and 16 384 units, 32
        of them active. For "topk", "batchtopk", "jumprelu" and "gated", for all codes if
        ``transform_algorithm`` is "omp", and for "l1" with relu (if half of the entries are not 0,
        this takes as much memory as dense codes). A ValueError with any other code, which has
        hardly any zeros. `inverse_transform` takes sparse codes in any case. scikit-learn cannot
        put sparse codes into a data frame: use ``set_output(transform="default")``.

    transform_n_active : int >= 1 or None, default=None
        How many of the largest positive activations of each row `transform`, `score` and
        `score_samples` keep of a "topk" code, at most ``n_components``. None is the number in
        `fit`. It can be set after `fit`, which ignores it. With fewer units than in training, the
        model rebuilds less than a model trained for so few, unless ``budgets`` trained it for both.
        With more units it rebuilds hardly better. Both warn. Without effect (and a warning in
        `fit`) for other codes, unless ``transform_algorithm`` is "omp".

    transform_algorithm : {"encode", "refit", "omp"}, default="encode"
        How `transform`, `score` and `score_samples` find codes. "encode" uses the encoder. The
        others find the coefficients of atoms that rebuild each row best, in more time; coefficients
        may be negative. "refit" is least squares on the atoms of the units that the encoder makes
        active; the other units must be 0, as with relu. "omp" is orthogonal matching pursuit [12]_:
        without the encoder, it chooses one atom after another, always the one most correlated with
        the residual. It chooses ``transform_n_active`` atoms or, if this is None, as many as
        ``rho`` says for "topk", "batchtopk" and "jumprelu"; and fewer if the residual is 0 earlier,
        or if atoms are linearly dependent. Both rebuild more with as many units, but a classifier
        does not gain (docs/guide/exact.md). It can be set after `fit`, which ignores it: fitted
        attributes are those of the encoder's codes. A ValueError with hidden layers, with an output
        other than "identity", and in members of stacks, classifiers and regressors.

    solver : {"adam", "sgd", "lbfgs"}, default="adam"
        "adam" and "sgd" use minibatches. "lbfgs" uses all rows at every step; it suits small data
        and precise optima. "lbfgs" is a ValueError with "topk", "batchtopk", "jumprelu" and
        "gated", because their J jumps when other units become active.

    learning_rate : float > 0 or "auto", default="auto"
        The rate of "adam" and "sgd". "auto" is 2e-2 min(1, sqrt(64 / n_features)) for "adam"; for
        "sgd" it is 1e-2 with "kl" and 3e-3 otherwise. If rows do not have the norm that
        ``scale_data`` gives them it is 1e-2 for "adam" and 0.1 for "sgd". With
        ``loss="cross_entropy"`` that of "sgd" is always 4e-2 with "kl" and 1.2e-2 otherwise. With
        ``tied_weights`` and "adam" it falls further beyond 784 features, to half of that; and
        without hidden layers the biases of the code learn faster than the weights, by the factor
        2e-2 / (the value of "auto"). With hidden layers the rate rises over the first 200 steps for
        each of ``hidden_layer_sizes``, because relu units would die at the full rate; with the
        "linear" schedule over a quarter of all steps at most. Until then the loss does not count as
        settled.

    learning_rate_schedule : {"linear", "constant"}, default="linear"
        "linear" falls from ``learning_rate`` to zero over ``max_iter`` epochs, or faster once the
        loss has settled (see ``tol``).

    momentum : float in [0, 1), default=0.9
        Momentum of "sgd".

    batch_size : int >= 1 or "auto", default="auto"
        Largest number of rows in a minibatch of "adam" and "sgd". "auto" is an eighth of the
        training rows, but at least 16 and at most 256 (in `partial_fit`, of the rows given). The
        batches of an epoch have nearly equal sizes.

    max_iter : int >= 1 or "auto", default="auto"
        Largest number of epochs (of iterations for "lbfgs"). "auto" is 200 epochs; for "adam" and
        "sgd" it is at least 800 steps, because an epoch of few batches has few steps.

    tol : float >= 0, default=1e-3
        The loss has settled when ``n_iter_no_change`` epochs in a row have not lowered it by more
        than this share of it (or, with ``early_stopping``, not raised the held-out R^2 by more than
        this). A "linear" learning rate then falls to zero over ``n_iter_no_change`` more epochs;
        otherwise training ends at once.

    n_iter_no_change : int >= 1 or "auto", default="auto"
        See ``tol``. "auto" is 10 epochs, and at least 300 steps, for "adam" and "sgd"; 30
        iterations for "lbfgs".

    early_stopping : bool, default=False
        Whether to hold out rows, measure the R^2 of their reconstruction after each epoch, and
        return the weights with the largest.

    validation_fraction : float in (0, 1), default=0.1
        Share of rows held out with ``early_stopping``.

    shuffle : bool, default=True
        Whether each epoch visits the rows in a new order.

    warm_start : bool, default=False
        Whether `fit` continues from the end of the last fit, for ``max_iter`` more epochs.

    dtype : {"float32", "float64", "bfloat16"}, default="float32"
        Precision of training. "lbfgs" keeps parameters, sums and directions in float64 in either
        case. With "bfloat16" the large matrix products of each step of "adam" and "sgd" are in
        bfloat16 and all else in float32. This is faster with some hundred units and features and
        with large batches. It needs a processor with AVX-512 BF16 or AMX, or CUDA since Ampere.
        `transform` computes in the precision of its input.

    device : str, default="auto"
        "auto" (CUDA if there is one, else the CPU), "cpu", "cuda", "cuda:1", "mps". A fitted
        model whose device is missing computes on the CPU, with a warning.

    data_parallel : bool, default=False
        Whether all processes of ``torch.distributed`` make one fit, each with rows of its own. Each
        calls `fit` or `partial_fit` with its rows, and all end with the same model, which is what
        one process would learn of all rows (docs/guide/distributed.md). ``batch_size`` is that of
        all processes together, and weights are relative to the mean over all. A ValueError if
        ``torch.distributed`` is not initialised, and a RuntimeError if another process fails. In a
        group of one process it has no effect.

    verbose : bool or int, default=0
        1 prints how training goes: the first and the last epoch and others between them, about two
        a second, and why it ended. 2 prints every epoch. A line has the loss, the mean activation
        and Hoyer's sparsity of rows (``row_sparsity_``) in the epoch's last minibatch (for "lbfgs"
        in the first rows), the score of held-out rows and the longest time that is left. In a stack
        or a classifier it begins with the member's name. It does not change training.

    random_state : int, RandomState instance or None, default=None
        Seed of initial weights, minibatches, noise and held-out rows. With an int, the same data,
        parameters and number of threads give the same bits.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        Atoms: what an activation of 1 of each unit adds to a row in the scale of X, before the
        output's activation: ``coefs_[-1] * scale_``. With ``loss="cross_entropy"`` it is what it
        adds to the logits of a row, ``coefs_[-1]``. With hidden layers there are none.
    coefs_ : list of ndarray of shape (n_in, n_out)
        Weights of each layer from input to output, in the space of z; with ``loss="cross_entropy"``
        the output is in the scale of X.
    intercepts_ : list of ndarray of shape (n_out,)
        Biases likewise.
    slopes_ : list of ndarray of shape (n_out,) or None
        prelu slopes likewise; None for layers of other activations.
    thresholds_ : ndarray of shape (n_components,) or None
        For "jumprelu": each unit is active above this pre-activation, at least 0. None for others.
    log_gains_, magnitude_offsets_ : ndarray of shape (n_components,) or None
        For "gated": r and m; the bias in ``intercepts_`` is that of the gate. None for others.
    mean_ : ndarray of shape (n_features,), float64
        Mean of each feature; zeros if ``scale_data`` is False. After `partial_fit`, ``mean_`` and
        ``scale_`` are those of the rows that training uses for scaling.
    scale_ : float
        The divisor of all features; 1.0 if ``scale_data`` is False or X is constant.
    mean_activation_ : ndarray of shape (n_components,), float64
        Weighted mean of each unit's activation a over the training rows, of (1 + a) / 2 for tanh.
    active_share_ : ndarray of shape (n_components,), float64
        Weighted share of the training rows in which each unit is active
        (:func:`sksae.metrics.is_active`): not 0 if a code has exact zeros, and otherwise (sigmoid,
        tanh, prelu and identity) above half of its ``largest_activation_``. Their sum is the mean
        number of active units in a row. After `partial_fit` it is that of the last rows given. This
        and the next two attributes describe the encoder's codes with all active units, for any
        ``transform_algorithm`` and ``transform_n_active``.
    largest_activation_ : ndarray of shape (n_components,), float64
        Largest activity of each unit over the training rows: of abs(a), or of (1 + a) / 2 for tanh
        with "kl", whose inactive units are at -1. After `partial_fit` it is over the rows of all
        pieces, each measured when it was given.
    row_sparsity_ : float
        Weighted mean over the training rows of Hoyer's sparsity of their activities (see
        ``largest_activation_``, :func:`sksae.metrics.hoyer_sparsity`): 0 if all units are equally
        active, 1 if one alone is active. After `partial_fit` it is that of the last rows given.
    beta_ : float or None
        Weight of the sparsity term: ``beta``, or what "auto" or None stood for. None if
        ``sparsity`` is None, "topk" or "batchtopk".
    threshold_ : float or None
        For "batchtopk": a unit is active above this pre-activation, at least 0. It is the midpoint
        between the (n k)-th largest pre-activation of all n training rows and the next one; rows
        count by their weight. After `partial_fit` it is that of the last rows given. None for other
        codes.
    alpha_ : float
        Weight decay: ``alpha``, or what None stood for.
    loss_ : float
        J of the fitted weights over all training rows, with ``beta_``. As ``mean_activation_``,
        ``active_share_``, ``largest_activation_`` and ``row_sparsity_``, it is nan if a second
        Ctrl-C interrupted its computation.
    loss_curve_ : list of float
        For each epoch the mean of J over its minibatches, with weight decay and beta at its end; J
        after each iteration for "lbfgs".
    loss_parts_ : dict of {"reconstruction", "sparsity", "decay"} to list of float
        The terms of ``loss_curve_``, which is their sum up to rounding: the mean loss l of rows
        (with "gated" also that of the second reconstruction), beta S, and the weight decay. Each
        has as many entries as the curve.
    validation_score_curve_ : list of float or None
        R^2 of the held-out rows after each epoch; None without ``early_stopping``.
    n_iter_ : int
        Epochs (iterations for "lbfgs") completed so far, and passes of `partial_fit`. A pass that
        was interrupted after a step counts too.
    n_steps_ : int
        Steps of the solver so far.
    n_features_in_ : int
        Number of features seen by `fit`.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, where X has names that are all strings.

    See Also
    --------
    sklearn.decomposition.MiniBatchDictionaryLearning : Sparse codes by a linear dictionary, each
        found by solving an optimisation problem.
    sklearn.decomposition.PCA : The best linear code, dense.
    sklearn.neural_network.BernoulliRBM : Binary features by a generative model.

    Notes
    -----
    Training uses coordinates in which the training rows have mean zero; afterwards the first bias
    absorbs the mean. J is the same, but much better conditioned [2]_. Initial weights are uniform
    in :math:`\pm\sqrt{6 / (n_{in} + n_{out} + 1)}`. The code's bias starts where the activity at
    the mean row is rho ("kl"), the output's bias where the output is the mean row, and biases of
    hidden layers where the mean row makes their pre-activations 0.

    In minibatches the mean activation of "kl" is a running mean over about the last 512 rows (at
    most ten batches and, in `fit`, one epoch). A mean over fewer rows is too noisy for a small rho;
    a mean over more rows lags behind and makes units oscillate. With hidden layers it is the mean
    over the batch.

    "topk" without hidden layers, "batchtopk", "jumprelu" and "gated": a unit is dead if it was
    active in no row for an epoch and for 20 steps. In each row the min(k, n_dead / 2) dead units
    with the largest pre-activations rebuild the error e (minus the derivative of l by the sum of
    the atoms). e is constant, and :math:`\tfrac12 \lVert e - \hat e \rVert^2` is added to its loss,
    not to ``loss_`` [7]_. Before each step the part of a gradient along its atom is removed, and
    after it atoms are divided by their norms. The encoder is :math:`W z + c` of centred rows, which
    can express the same functions as :math:`W (z - b) + c`.

    The gradient of a threshold of "jumprelu" uses the rows whose pre-activation is within half a
    standard deviation of it. This is the standard deviation of pre-activations by random atoms, and
    equals that of the entries of z. Units of "jumprelu" and "gated" start with thresholds at which
    twice as many units as ``rho`` says would be active if pre-activations were normal.

    Units of "kl" are active in few rows and near zero in all others. A linear model with a penalty
    on its weights does better on such codes after a
    :class:`~sklearn.preprocessing.StandardScaler`.

    References
    ----------
    .. [1] A. Ng, "Sparse autoencoder", CS294A lecture notes, 2011; and the UFLDL tutorial.
    .. [2] Y. LeCun, L. Bottou, G. Orr and K.-R. Mueller, "Efficient BackProp", 1998, section 4.3.
    .. [3] D. Kingma and J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.
    .. [4] R. Byrd, J. Nocedal and R. Schnabel, "Representations of quasi-Newton matrices and their
           use in limited memory methods", Mathematical Programming 63, 1994.
    .. [5] P. Vincent, H. Larochelle, Y. Bengio and P.-A. Manzagol, "Extracting and composing
           robust features with denoising autoencoders", ICML 2008.
    .. [6] A. Makhzani and B. Frey, "k-sparse autoencoders", 2013, arXiv:1312.5663.
    .. [7] L. Gao et al., "Scaling and evaluating sparse autoencoders", 2024, arXiv:2406.04093
           (Multi-TopK, unit norm, auxiliary loss); and N. Balagansky et al., "Train one sparse
           autoencoder across multiple sparsity budgets to preserve interpretability and accuracy",
           2025, arXiv:2505.24473.
    .. [8] B. Bussmann, P. Leask and N. Nanda, "BatchTopK sparse autoencoders", 2024,
           arXiv:2412.06410.
    .. [9] B. Bussmann, N. Nabeshima, A. Karvonen and N. Nanda, "Learning multi-level features with
           Matryoshka sparse autoencoders", 2025, arXiv:2503.17547.
    .. [10] S. Rajamanoharan et al., "Jumping ahead: improving reconstruction fidelity with JumpReLU
           sparse autoencoders", 2024, arXiv:2407.14435.
    .. [11] S. Rajamanoharan et al., "Improving dictionary learning with gated sparse autoencoders",
           2024, arXiv:2404.16014.
    .. [12] Y. Pati, R. Rezaiifar and P. Krishnaprasad, "Orthogonal matching pursuit: recursive
           function approximation with applications to wavelet decomposition", Asilomar Conference
           on Signals, Systems and Computers, 1993; and for many rows at once R. Rubinstein,
           M. Zibulevsky and M. Elad, "Efficient implementation of the K-SVD algorithm using batch
           orthogonal matching pursuit", Technion CS-2008-08, 2008.
    .. [13] F. Chollet, "Building autoencoders in Keras", The Keras Blog, 2016. In P. Vincent et
           al., "Stacked denoising autoencoders", JMLR 11, 2010, section 2.2, l is the sum, and the
           output that of Bernoulli variables.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sksae import SparseAutoencoderTransformer
    >>> X = load_digits().data
    >>> sae = SparseAutoencoderTransformer(64, rho=0.1, max_iter=60, tol=3e-3, random_state=0)
    >>> sae.fit_transform(X).shape
    (1797, 64)
    >>> print(f"mean activation {sae.mean_activation_.mean():.2f}, R^2 {sae.score(X):.1f}")
    mean activation 0.10, R^2 0.9

    Grey values as probabilities:

    >>> sae = SparseAutoencoderTransformer(
    ...     64, loss="cross_entropy", rho=0.1, max_iter=60, tol=3e-3, random_state=0
    ... )
    >>> codes = sae.fit_transform(X / 16)
    >>> rebuilt = sae.inverse_transform(codes)
    >>> print(f"R^2 {sae.score(X / 16):.1f}, {rebuilt.min():.1f} to {rebuilt.max():.1f}")
    R^2 0.9, 0.0 to 1.0
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "sparsity": [StrOptions({name for name in CODES if name is not None}), None],
        "rho": [
            Interval(RealNotInt, 0, 1, closed="neither"),
            Interval(Integral, 1, None, closed="left"),
        ],
        "beta": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left"), None],
        "loss": [StrOptions(set(LOSSES))],
        "budgets": [StrOptions({"auto"}), "array-like", None],
        "prefixes": ["array-like", None],
        "activation": [StrOptions(ACTIVATION_NAMES | {"auto"})],
        "output_activation": [StrOptions(ACTIVATION_NAMES | {"auto"})],
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "hidden_activation": [StrOptions(ACTIVATION_NAMES)],
        "tied_weights": ["boolean"],
        "scale_data": ["boolean"],
        **constraints.NOISE,
        "sparse_output": ["boolean"],
        "transform_n_active": [Interval(Integral, 1, None, closed="left"), None],
        "transform_algorithm": [StrOptions(set(ALGORITHMS))],
        "warm_start": ["boolean"],
        **constraints.TRAINING,
        "alpha": [*constraints.TRAINING["alpha"], None],
        "max_iter": [StrOptions({"auto"}), *constraints.TRAINING["max_iter"]],
    }

    def __init__(
        self,
        n_components: int = 100,
        *,
        sparsity: Literal["kl", "l1", "l2", "topk", "batchtopk", "jumprelu", "gated"] | None = "kl",
        rho: float = 0.05,
        beta: Literal["auto"] | float | None = None,
        loss: Literal["squared_error", "cross_entropy"] = "squared_error",
        alpha: float | None = None,
        budgets: Literal["auto"] | Sequence[float] | None = "auto",
        prefixes: Sequence[float] | None = None,
        activation: Literal["auto"] | ActivationName = "auto",
        output_activation: Literal["auto"] | ActivationName = "auto",
        hidden_layer_sizes: Sequence[int] | int = (),
        hidden_activation: ActivationName = "relu",
        tied_weights: bool = False,
        scale_data: bool = True,
        noise: Literal["gaussian", "masking"] | None = None,
        noise_level: float = 0.3,
        sparse_output: bool = False,
        transform_n_active: int | None = None,
        transform_algorithm: Literal["encode", "refit", "omp"] = "encode",
        solver: Literal["adam", "sgd", "lbfgs"] = "adam",
        learning_rate: Literal["auto"] | float = "auto",
        learning_rate_schedule: Literal["linear", "constant"] = "linear",
        momentum: float = 0.9,
        batch_size: Literal["auto"] | int = "auto",
        max_iter: Literal["auto"] | int = "auto",
        tol: float = 1e-3,
        n_iter_no_change: Literal["auto"] | int = "auto",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        shuffle: bool = True,
        warm_start: bool = False,
        dtype: Literal["float32", "float64", "bfloat16"] = "float32",
        device: str = "auto",
        data_parallel: bool = False,
        verbose: bool | int = 0,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_components = n_components
        self.sparsity = sparsity
        self.rho = rho
        self.beta = beta
        self.loss = loss
        self.alpha = alpha
        self.budgets = budgets
        self.prefixes = prefixes
        self.activation = activation
        self.output_activation = output_activation
        self.hidden_layer_sizes = hidden_layer_sizes
        self.hidden_activation = hidden_activation
        self.tied_weights = tied_weights
        self.scale_data = scale_data
        self.noise = noise
        self.noise_level = noise_level
        self.sparse_output = sparse_output
        self.transform_n_active = transform_n_active
        self.transform_algorithm = transform_algorithm
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
        self.warm_start = warm_start
        self.dtype = dtype
        self.device = device
        self.data_parallel = data_parallel
        self.verbose = verbose
        self.random_state = random_state

    @fits_together
    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: ArrayLike | sp.sparray | sp.spmatrix,
        y: object = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Learn a sparse code of X.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training rows. Dense rows of up to 256 MB in the precision of training are copied and
            scaled; held-out rows too if there is room left. Larger arrays, such as memory maps, are
            read in place, whatever their dtype. A CSR matrix is made dense one minibatch at a time.
        y : None
            Ignored, present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weight of each row; rows of weight 0 are left out.

        Returns
        -------
        self : SparseAutoencoderTransformer
            Fitted.

        Raises
        ------
        ValueError
            If a parameter or the data is invalid, also if values are outside [0, 1] with
            ``loss="cross_entropy"``; or if the loss becomes infinite or nan.

        Warns
        -----
        UserWarning
            If a parameter has no effect. A first fit that scales at least ten rows also warns in
            these cases. One column, or up to three and a tenth of all columns, hold 95 % of the
            variance, and each of them has 100 times the average variance of the others. A column
            holds a value that may stand for a missing one: further from the median than 1000 times
            the range from the 1st to the 99th percentile (ten times, if the column holds nearly all
            variance because of it; for a column of zeros, the range of its other values). With
            ``scale_data=False``, the mean squared deviation of rows is more than a hundred times
            larger or smaller than the defaults expect, 1.14.
        ConvergenceWarning
            If ``max_iter`` ended the training, or ``beta="auto"`` missed rho. If the fit is
            useless: R^2 of the training rows is at most 0; or ``loss_`` is larger than J at the
            start with the same beta (if training continues: if J lost half of its advantage over
            the mean row); or more than 1 % of the units are dead (:func:`sksae.metrics.dead_units`)
            on at least ten training rows. There is no such warning if the user ended the fit, or if
            all rows are equal.
        """
        resume = self.warm_start and hasattr(self, "coefs_")
        return self._fit(X, y, sample_weight, resume=resume)

    @available_if(goes_by_minibatches)
    @fits_together
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: ArrayLike | sp.sparray | sp.spmatrix,
        y: object = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train on the rows given in one pass, in minibatches, at the constant learning rate.

        ``mean_`` and ``scale_`` are those of the first pieces in which rows differ. They are
        updated if later pieces show that ``scale_`` is wrong by more than a factor of 2 (1.1 until
        100 rows have been seen), or that ``mean_`` is as far off. Within the first 10000 rows, only
        the rows that showed this may then count. The network is then rescaled, and the solver's
        memory starts anew. The output stays the same if it is linear, weights are not tied (or all
        units are relu, prelu or identity), weights need not become four times as long or short, and
        biases need not move by four deviations. Otherwise the network keeps its weights, and gets
        rows in the new scaling. As long as all rows are equal, nothing is learnt.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored, present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weight of each row, 1 by default. Weights are relative to those of all rows
            seen so far: a step on a piece with r times the usual weight counts as r steps, with
            their weight decay; r is at most 10. The usual weight is the mean over pieces of their
            mean weight, weighted by the total weight of each piece.

        Returns
        -------
        self : SparseAutoencoderTransformer
            Fitted.

        Raises
        ------
        ValueError
            If ``early_stopping`` is set; if a parameter or the data is invalid, as in `fit`; if the
            loss becomes infinite or nan.
        AttributeError
            If ``solver`` is "lbfgs", which needs all rows at once; then there is no such method.
        """
        check_holds_out_none(self)
        return self._fit(X, y, sample_weight, resume=hasattr(self, "coefs_"), one_pass=True)

    def transform(self, X: ArrayLike | sp.sparray | sp.spmatrix) -> Matrix:
        """Return the codes of some rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        codes : {ndarray, CSR matrix} of shape (n_samples, n_components)
            Activations of the code layer, or coefficients of atoms (``transform_algorithm``),
            computed and returned in the precision of X (float32 stays float32, everything else is
            float64). With ``sparse_output=True`` a CSR matrix with sorted indices and without
            stored zeros, of the kind that scikit-learn's configuration names (``sparse_interface``
            of :func:`sklearn.set_config`: a ``csr_matrix`` by default).

        Raises
        ------
        NotFittedError
            If the transformer is not fitted.
        ValueError
            If X is invalid, or has other features than the training rows; if rows are so far from
            the training rows that codes overflow in that precision; if ``transform_n_active`` is
            more than ``n_components``; if the network does not allow ``transform_algorithm``; if
            ``sparse_output`` is set, but ``set_output`` asks for a data frame or the codes have
            hardly any zeros.

        Warns
        -----
        UserWarning
            If the model was not trained for ``transform_n_active`` units.
        """
        # Codes tell whether rows were finite, which spares a walk over all of them.
        X = checked_rows(self, X, finite_later=True)
        network = self._network_as_read()
        check_output(self, network, is_sparse=self.sparse_output)
        check = cache(partial(check_finite, self, X))
        if self.sparse_output:
            return as_configured(encode_sparse(network, X, self.device, check))
        return encode(network, X, self.device, check=check)

    @np.errstate(all="ignore")
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
            If the transformer is not fitted.
        ValueError
            If X is invalid, or does not have ``n_components`` columns; if rows overflow in that
            precision.
        """
        check_is_fitted(self)
        network = network_of(self)
        codes = checked_codes(X, network.n_components)
        return decode(network, codes, self.device)

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
            1 - sum_i w_i ||x_hat_i - x_i||^2 / sum_i w_i ||x_i - mean||^2 with the weighted mean
            of the rows given; at most 1. nan for fewer than two rows; without any deviation 1.0
            if the error is 0 and 0.0 otherwise, as in :func:`sklearn.metrics.r2_score`.

        Raises
        ------
        NotFittedError
            If the transformer is not fitted.
        ValueError
            If X or a weight is invalid; if the score overflows in float64, because rows are much
            smaller than the training rows.
        """
        X = checked_rows(self, X)
        weight = checked_weight(sample_weight, X)
        distances = reconstruction_distances(self._network_as_read(), X, self.device)
        return reconstruction_score(X, distances, weight)

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
            If the transformer is not fitted.
        ValueError
            If X is invalid; if scores overflow in float64, as with values of 1e154.
        """
        X = checked_rows(self, X)
        distances = reconstruction_distances(self._network_as_read(), X, self.device)
        return -squared_errors(distances)

    def _network_as_read(self) -> FittedNetwork:
        """Return what was learnt, as the parameters of `transform` say that it is to be read."""
        network = network_of(self)
        how = self.transform_n_active, self.transform_algorithm
        warn_of_reading(network, *how)
        return as_read(network, *how)

    @property
    def components_(self) -> np.ndarray:
        """Atoms: what an activation of 1 adds to a row, shape (n_components, n_features).

        In the precision of training, or in float64 if they overflow in it.

        Raises
        ------
        NotFittedError
            If the transformer is not fitted.
        AttributeError
            With hidden layers: then the decoder is not linear, and there are no atoms.
        """
        check_is_fitted(self)
        if len(self.coefs_) > 2:
            raise AttributeError(
                "components_ does not exist with hidden layers: the decoder is not linear, so "
                "there are no atoms. Decode one code at a time with inverse_transform."
            )
        coef, scale = self.coefs_[-1], network_of(self).output_scaling.scale
        with np.errstate(all="ignore"):
            atoms = coef * np.asarray(scale, dtype=coef.dtype)
            has_room = np.isfinite(atoms).all() and scale >= np.finfo(coef.dtype).tiny
            return atoms if has_room else coef.astype(np.float64) * scale

    @classmethod
    def _get_param_names(cls) -> list[str]:
        """Return the names of the parameters, in a list of the caller's own."""
        return list(cls._names_off_signature())

    @classmethod
    @cache
    def _names_off_signature(cls) -> tuple[str, ...]:
        """Return them, read once: a search asks a dozen times for each fit, as long as a score."""
        return tuple(super()._get_param_names())

    @property
    def _gives_sparse(self) -> bool:
        return self.sparse_output

    @property
    def _n_features_out(self) -> int:
        return self.coefs_[len(self.coefs_) // 2].shape[0]

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "coefs_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @np.errstate(all="ignore")
    @explained_shortage(IN_TRAINING)
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
        with ending_when_interrupted(), speaking_for(self), unseen_on_failure(self):
            X = checked_rows(self, X, reset=not resume)
            weight = checked_weight(sample_weight, X, as_given=True)
            check_same_form(self, X, weight)
            known = None if resume or one_pass else find_fit(self, X, weight)
            specification, before = specification_of(self), fitted_of(self) if resume else None
            with checkpointed(self, X, weight, goes_on_from=before, in_pieces=one_pass) as draws:
                if known is None:
                    specification = replace(specification, random_state=draws)
                    plan = make_plan(
                        specification, X, weight, resume_from=before, one_pass=one_pass
                    )
                else:
                    plan = known.plan
                warn_before_training(specification, X, plan, rows_told_of(self))
                callbacks = FitCallbacks(
                    self,
                    plan.config,
                    lambda snapshot: network_attributes(network_of_plan(plan, snapshot.flat)),
                    X,
                    y,
                    weight,
                    0 if before is None else before.record.n_iter,
                )
                callbacks.begin()
                if known is None:
                    (outcome,) = train_plans([plan], X, weight, callbacks.monitor)
                else:
                    outcome = known.outcome
            trained = successful(outcome)
            attributes = result_attributes(result_of(plan, trained, before))
            unusual = unusual_parameters(specification, X.shape[1], plan.scaling.divergence)
            warn_of_end(trained, plan, unusual, n_rows=plan.count_rows(X))
            callbacks.end(attributes)
            processes_in_use().meet()
            for name, value in attributes.items():
                setattr(self, name, value)
        return self

    def __sksae_network__(self) -> FittedNetwork:
        """Return what was learnt as one value."""
        check_is_fitted(self)
        return network_of(self)

    def __sksae_specification__(self) -> Specification:
        """Return what the parameters ask for, or raise if they cannot be."""
        self._validate_params()
        return specification_of(self)
