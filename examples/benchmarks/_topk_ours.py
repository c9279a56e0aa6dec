"""The dictionaries of sksae with k active units, and what is left of them without learnt atoms."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from _harness import version
from _topk_data import Rows
from _topk_dictionary import Dictionary, Setting

FROZEN = "rows as atoms"
# Of Matryoshka dictionaries.
PREFIXES = (1 / 16, 1 / 8, 1 / 4, 1 / 2)


def fit_ours(sparsity: str, rows: Rows, setting: Setting, **parameters: Any) -> Dictionary:
    """Fit the public estimator."""
    from sksae import SparseAutoencoderTransformer

    if setting.rate is not None:
        parameters["learning_rate"] = setting.rate
    model = SparseAutoencoderTransformer(
        setting.width,
        sparsity=sparsity,
        rho=setting.k / setting.width,
        batch_size=setting.batch,
        max_iter=setting.epochs,
        random_state=setting.seed,
        **parameters,
    )
    start = time.perf_counter()
    model.fit(rows.X_train)
    return dictionary_of(model, time.perf_counter() - start)


def dictionary_of(model, seconds: float) -> Dictionary:
    """Return what a fitted estimator has learnt, and how long that took."""
    import torch

    return Dictionary(
        **weights(model),
        threshold=threshold_of(model),
        seconds=seconds,
        threads=torch.get_num_threads(),
        version=version("sksae"),
    )


def threshold_of(model) -> float | np.ndarray:
    """Return above which pre-activation of `weights` units are active; nan where rho says it."""
    if model.thresholds_ is not None:
        return model.thresholds_
    if model.magnitude_offsets_ is not None:
        # The gate is open where exp(r) p + m is above m.
        return np.maximum(model.magnitude_offsets_, 0.0)
    return np.nan if model.threshold_ is None else model.threshold_


def weights(model) -> dict[str, np.ndarray]:
    """Return the fitted weights for rows as they were given: the model's are for scaled ones.

    Those of a gate are the ones of its magnitudes.
    """
    W_enc, W_dec = model.coefs_
    b_enc, b_dec = model.intercepts_
    if model.log_gains_ is not None:
        gain = np.exp(model.log_gains_)
        W_enc, b_enc = W_enc * gain, b_enc * gain + model.magnitude_offsets_
    W_enc = W_enc / model.scale_
    parts = {
        "W_enc": W_enc,
        "b_enc": b_enc - model.mean_ @ W_enc,
        "W_dec": W_dec * model.scale_,
        "b_dec": b_dec * model.scale_ + model.mean_,
    }
    return {name: part.astype(np.float32) for name, part in parts.items()}


def fit_frozen(rows: Rows, setting: Setting) -> Dictionary:
    """Take training rows, drawn at random, as atoms; only encoder and output bias are trained.

    By Adam at a rate that falls to 0, and with the k largest as the code.
    """
    import torch

    torch.manual_seed(setting.seed)
    X = torch.from_numpy(rows.X_train)
    atoms = X[torch.randperm(len(X))[: setting.width]]
    atoms = atoms / atoms.norm(dim=1, keepdim=True)
    W_enc = atoms.T.clone().requires_grad_()
    b_enc = torch.zeros(setting.width, requires_grad=True)
    b_dec = torch.zeros(X.shape[1], requires_grad=True)
    n_steps = setting.epochs * (len(X) // setting.batch)
    optimizer = torch.optim.Adam([W_enc, b_enc, b_dec], lr=setting.rate or 1e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=n_steps)
    start = time.perf_counter()
    for step in range(n_steps):
        place = step % (n_steps // setting.epochs) * setting.batch
        if place == 0:
            order = torch.randperm(len(X))
        batch = X[order[place : place + setting.batch]]
        values, which = torch.relu(batch @ W_enc + b_enc).topk(setting.k, dim=1)
        code = torch.zeros(len(batch), setting.width).scatter(1, which, values)
        loss = (code @ atoms + b_dec - batch).square().sum(dim=1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    seconds = time.perf_counter() - start
    W_enc, b_enc, b_dec = (part.detach().numpy() for part in (W_enc, b_enc, b_dec))
    threads = torch.get_num_threads()
    return Dictionary(
        W_enc, b_enc, atoms.numpy(), b_dec, float("nan"), seconds, threads, version("torch")
    )


OURS: dict[str, Callable[[Rows, Setting], Dictionary]] = {
    "sksae topk": lambda rows, setting: fit_ours("topk", rows, setting),
    "sksae topk, one budget": lambda rows, setting: fit_ours("topk", rows, setting, budgets=None),
    "sksae batchtopk": lambda rows, setting: fit_ours("batchtopk", rows, setting),
    "sksae topk, prefixes": lambda rows, setting: fit_ours(
        "topk", rows, setting, prefixes=PREFIXES
    ),
    "sksae batchtopk, prefixes": lambda rows, setting: fit_ours(
        "batchtopk", rows, setting, prefixes=PREFIXES
    ),
    "sksae jumprelu": lambda rows, setting: fit_ours("jumprelu", rows, setting),
    "sksae gated": lambda rows, setting: fit_ours("gated", rows, setting, beta="auto"),
    FROZEN: fit_frozen,
}
