"""Fitted estimators as modules of torch, and what has been trained further there as estimators."""

from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sklearn.base import is_regressor

from sksae.base.attributes import forget_rows, with_network
from sksae.base.protocols import HasNetwork, is_autoencoder
from sksae.export.reading import check_exportable, network_to_export, top_of
from sksae.export.slim import slim
from sksae.model.network import FittedNetwork
from sksae.model.unrolled import unroll
from sksae.stacking.rolling import with_layers

if TYPE_CHECKING:
    from torch import nn

# Where a module keeps the estimator that it was made of.
SOURCE = "estimator"


def to_torch(
    estimator: HasNetwork, *, dtype: Literal["float32", "float64"] | None = None
) -> "nn.Module":
    """Return a fitted estimator as a module of torch, to be trained further or put into another.

    The module has ``encode(rows)``, and ``decode(codes)`` of a transformer or a stack; it is called
    with rows in the units of X, as tensors of its precision on its device. Of a transformer or a
    stack ``module(rows)`` is the reconstruction, of a classifier logits of shape (n_rows,
    n_classes), of a regressor what `predict` returns. It holds copies: the estimator stays as it
    is.

    Parameters
    ----------
    estimator : SparseAutoencoderTransformer, StackedSparseAutoencoder, \
SparseAutoencoderClassifier or SparseAutoencoderRegressor
        Fitted. ``transform_n_active`` counts.
    dtype : {"float32", "float64"}, default=None
        Precision of parameters and of rows; None is that of training.

    Returns
    -------
    module : torch.nn.Module
        On the CPU, and in training mode, which makes no difference. Its parameters have gradients:
        ``encoder.0.weight`` of shape (n_components, n_features), ``encoder.0.bias`` and so on up to
        ``decoder.0.bias``, or ``top.bias`` of the layer on top; of some activations also ``slope``,
        ``log_gain`` and ``offset``. Tied layers of a decoder have a bias alone. Biases of the first
        layer are those for centred rows. What scales rows (``centre``, ``scale``, ``shift``,
        ``input_scale``) and thresholds, which have no gradient, are buffers. Its attribute
        ``estimator`` is a copy that `slim` makes.

    Raises
    ------
    TypeError
        If it is another estimator. Of a pipeline or a search, give the model in it.
    NotFittedError
        If it is not fitted.
    ValueError
        If ``transform_algorithm`` is not "encode"; if numbers of the model are beyond the
        precision; if ``dtype`` is none of the two.

    See Also
    --------
    from_torch : The way back.

    Notes
    -----
    Outputs are those of the estimator for rows in that precision, up to rounding. `transform`
    refuses rows with nan and computes extreme rows in an extended range; the module does neither.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from sksae import SparseAutoencoderTransformer
    >>> from sksae.export import to_torch
    >>> X = np.random.default_rng(0).normal(size=(200, 6))
    >>> sae = SparseAutoencoderTransformer(4, max_iter=5, tol=1.0, random_state=0).fit(X)
    >>> module = to_torch(sae, dtype="float64")
    >>> codes = module.encode(torch.from_numpy(X))
    >>> bool(np.allclose(codes.detach().numpy(), sae.transform(X)))
    True
    >>> [name for name, _ in module.named_parameters()]
    ['encoder.0.weight', 'encoder.0.bias', 'decoder.0.weight', 'decoder.0.bias']
    """
    check_exportable(estimator, "to_torch")
    network = network_to_export(estimator, "a module of torch")
    if dtype is None:
        dtype = "float64" if network.layers[0].coef.dtype == np.float64 else "float32"
    elif dtype not in ("float32", "float64"):
        raise ValueError(f"dtype must be 'float32', 'float64' or None, got {dtype!r}.")
    module = _module_of(estimator, network, dtype)
    setattr(module, SOURCE, slim(estimator))
    return module


def from_torch(module: "nn.Module") -> Any:
    """Return a fitted estimator with the numbers that a module of `to_torch` has now.

    Parameters
    ----------
    module : torch.nn.Module
        Made by `to_torch`, in float32 or float64, on any device; trained since, or with a state
        loaded of a module of the same estimator.

    Returns
    -------
    estimator : SparseAutoencoderTransformer, StackedSparseAutoencoder, \
SparseAutoencoderClassifier or SparseAutoencoderRegressor
        Of the class and with the parameters that `to_torch` was given. Layers that have not changed
        are the same to the bit. If any has changed, what only rows tell (``loss_``,
        ``mean_activation_``, ``active_share_``, ``largest_activation_``, ``row_sparsity_``) is nan.
        `partial_fit` and ``warm_start`` raise a ValueError, as what training goes on from is not
        there.

    Raises
    ------
    TypeError
        If it is another module.
    ValueError
        If it is in another precision, if its layers were replaced, if numbers are not finite, or if
        it scales rows otherwise than the estimator does.

    See Also
    --------
    to_torch : The way there.

    Notes
    -----
    The decoders of a classifier's or a regressor's autoencoders are as they were: `to_torch` does
    not take them along. A threshold for all units ("batchtopk") is the buffer ``least``: nothing
    fits it anew after weights have changed, and then other numbers of units may be active.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from sksae import SparseAutoencoderTransformer
    >>> from sksae.export import from_torch, to_torch
    >>> X = np.random.default_rng(0).normal(size=(200, 6))
    >>> sae = SparseAutoencoderTransformer(4, max_iter=5, tol=1.0, random_state=0).fit(X)
    >>> module, rows = to_torch(sae), torch.from_numpy(X).float()
    >>> solver = torch.optim.Adam(module.parameters(), 1e-2)
    >>> for _ in range(20):
    ...     solver.zero_grad()
    ...     torch.nn.functional.mse_loss(module(rows), rows).backward()
    ...     solver.step()
    >>> from_torch(module).score(X) > sae.score(X)
    True
    """
    from sksae.engine.module import (
        FittedModule,
        are_same,
        as_array,
        check_is_of,
        trained_layers,
    )

    if not isinstance(module, FittedModule) or not hasattr(module, SOURCE):
        raise TypeError(
            f"from_torch takes a module that to_torch has made, got {type(module).__name__}: if it "
            "holds such a module (as torch.compile does), give that one."
        )
    dtype = str(module.centre.dtype).removeprefix("torch.")
    if dtype not in ("float32", "float64"):
        raise ValueError(f"The module must be in float32 or float64, got {dtype}: use float().")
    source = getattr(module, SOURCE)
    network = _as_trained(source)
    fresh = _module_of(source, network_to_export(source, "a module of torch"), dtype)
    check_is_of(module, fresh)
    layers = trained_layers(module, fresh, network)
    if is_autoencoder(source):
        estimator: Any = with_network(source, replace(network, layers=tuple(layers)))
    else:
        estimator = copy(source)
        estimator.autoencoders_ = with_layers(source.autoencoders_, layers)
    is_changed = any(now is not then for now, then in zip(layers, network.layers, strict=True))
    top = module.top
    if top is not None and not are_same(top, fresh.top):
        assert top.weight is not None
        is_changed = True
        coef, intercept = as_array(top.weight), as_array(top.bias)
        if np.ndim(source.coef_) == 1:
            estimator.coef_, estimator.intercept_ = coef[0], float(intercept[0])
        else:
            kind = np.promote_types(source.coef_.dtype, dtype)
            estimator.coef_, estimator.intercept_ = coef.astype(kind), intercept.astype(kind)
    if is_changed:
        forget_rows(estimator)
    return estimator


def _as_trained(estimator: Any) -> FittedNetwork:
    """Return the network of an estimator, whatever ``transform_n_active`` says.

    That of a stack is one network; of a classifier or a regressor it is the encoders alone.
    """
    if is_autoencoder(estimator):
        return estimator.__sksae_network__()
    whole = unroll([member.__sksae_network__() for member in estimator.autoencoders_])
    return whole if top_of(estimator) is None else whole.without_decoder()


def _module_of(estimator: Any, network: FittedNetwork, dtype: str) -> Any:
    """Return a module of an estimator's network, which is as `transform` reads it."""
    import torch

    from sksae.engine.module import FittedModule

    is_1d = is_regressor(estimator) and np.ndim(estimator.coef_) == 1
    return FittedModule(network, getattr(torch, dtype), top_of(estimator), is_1d=is_1d)
