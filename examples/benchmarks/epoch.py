"""Five epochs on MNIST: sksae against skorch, a DataLoader loop, MLPRegressor and the floor.

Timed from the call of fit to its return. skorch and the loop minimise the same J, from the same
kind of start and with the same learning rates, so their J can be compared; MLPRegressor has no
sparsity term and shows its seconds only. alpha/2 ||W||^2 is left to Adam's weight_decay there,
which has the same gradient and is the quicker way.
"""

from _harness import MNIST, option_parser

parser = option_parser(__doc__, repeats=5, data=MNIST)

if __name__ == "__main__":  # what is refused is refused before the imports that take seconds
    options = parser.parse_args()

import statistics

import torch
from _harness import (
    at_least,
    at_most,
    five_products,
    interleave,
    median_ratio,
    objective,
    quiet,
    report,
    rows_of_mnist,
    set_threads,
    starting_weights,
    weights_of,
)
from torch.optim.lr_scheduler import LinearLR

N_SAMPLES, N_COMPONENTS = 20_000, 196
EPOCHS, BATCH, RATE = 5, 256, 1e-2
PENALTY = {"rho": 0.1, "beta": 3.0, "alpha": 3e-3}
STEPS = EPOCHS * -(-N_SAMPLES // BATCH)
OURS, SKORCH, LOOP, MLP, FLOOR = "sksae", "skorch", "DataLoader loop", "MLPRegressor", "floor"
SAME = 1.0  # percent that J may be above theirs and still count as the same
TARGETS = {SKORCH: 2.3, LOOP: 1.7, MLP: 1.4}


class Autoencoder(torch.nn.Module):
    """Sigmoid code and sigmoid output, from given weights."""

    def __init__(self, start):
        super().__init__()
        W_in, b_in, W_out, b_out = (torch.tensor(array, dtype=torch.float32) for array in start)
        self.encoder = torch.nn.Linear(*W_in.shape)
        self.decoder = torch.nn.Linear(*W_out.shape)
        self.load_state_dict(
            {
                "encoder.weight": W_in.T,
                "encoder.bias": b_in,
                "decoder.weight": W_out.T,
                "decoder.bias": b_out,
            }
        )

    def forward(self, x):
        code = torch.sigmoid(self.encoder(x))
        return torch.sigmoid(self.decoder(code)), code


class Objective(torch.nn.Module):
    """J of a minibatch, less the weight decay."""

    def forward(self, prediction, x):
        output, code = prediction
        rho, rho_hat = PENALTY["rho"], code.mean(dim=0)
        kl = rho * torch.log(rho / rho_hat) + (1 - rho) * torch.log((1 - rho) / (1 - rho_hat))
        return (output - x).square().sum() / (2 * len(x)) + PENALTY["beta"] * kl.sum()


def module_weights(module: Autoencoder) -> tuple:
    """Return W_in, b_in, W_out, b_out as numpy arrays, in the shapes of starting_weights."""
    layers = module.encoder, module.decoder
    return tuple(
        array.detach().numpy() for layer in layers for array in (layer.weight.T, layer.bias)
    )


def fit_sksae(X, seed: int) -> tuple:
    from sksae import SparseAutoencoderTransformer

    model = SparseAutoencoderTransformer(
        N_COMPONENTS,
        **PENALTY,
        sparsity="kl",
        output_activation="sigmoid",
        scale_data=False,
        solver="adam",
        learning_rate=RATE,
        learning_rate_schedule="linear",
        batch_size=BATCH,
        max_iter=EPOCHS,
        tol=0,
        n_iter_no_change=EPOCHS + 1,  # never stop early
        device="cpu",
        random_state=seed,
    ).fit(X)
    assert model.n_iter_ == EPOCHS
    return weights_of(model)


def fit_skorch(X, seed: int) -> tuple:
    from skorch import NeuralNet
    from skorch.callbacks import LRScheduler

    torch.manual_seed(seed)
    schedule = LRScheduler(
        LinearLR, start_factor=1.0, end_factor=0.0, total_iters=STEPS, step_every="batch"
    )
    net = NeuralNet(
        Autoencoder,
        module__start=starting_weights(X, N_COMPONENTS, PENALTY["rho"], seed),
        criterion=Objective,
        optimizer=torch.optim.Adam,
        optimizer__param_groups=[("*.weight", {"weight_decay": PENALTY["alpha"]})],
        lr=RATE,
        max_epochs=EPOCHS,
        batch_size=BATCH,
        iterator_train__shuffle=True,
        train_split=None,
        callbacks=[("schedule", schedule)],
        verbose=0,
    ).fit(X, X)
    return module_weights(net.module_)


def fit_loop(X, seed: int) -> tuple:
    torch.manual_seed(seed)
    module = Autoencoder(starting_weights(X, N_COMPONENTS, PENALTY["rho"], seed))
    criterion = Objective()
    parameters = dict(module.named_parameters())
    optimizer = torch.optim.Adam(
        [
            {
                "params": [p for name, p in parameters.items() if name.endswith(".weight")],
                "weight_decay": PENALTY["alpha"],
            },
            {"params": [p for name, p in parameters.items() if name.endswith(".bias")]},
        ],
        lr=RATE,
    )
    schedule = LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=STEPS)
    rows = torch.utils.data.TensorDataset(torch.from_numpy(X))
    loader = torch.utils.data.DataLoader(rows, batch_size=BATCH, shuffle=True)
    for _ in range(EPOCHS):
        for (x,) in loader:
            optimizer.zero_grad()
            criterion(module(x), x).backward()
            optimizer.step()
            schedule.step()
    return module_weights(module)


def fit_mlp(X, seed: int) -> None:
    from sklearn.neural_network import MLPRegressor

    MLPRegressor(
        hidden_layer_sizes=(N_COMPONENTS,),
        activation="logistic",
        alpha=PENALTY["alpha"],
        batch_size=BATCH,
        max_iter=EPOCHS,
        tol=0,
        n_iter_no_change=EPOCHS + 1,
        random_state=seed,
    ).fit(X, X)


def floor_of(X):
    """Return a function that does the five products of every step of every epoch."""
    full, rest = divmod(len(X), BATCH)
    products = five_products(BATCH, X.shape[1], N_COMPONENTS)
    rest_products = five_products(rest, X.shape[1], N_COMPONENTS) if rest else lambda: None

    def floor(_) -> None:
        for _ in range(EPOCHS):
            for _ in range(full):
                products()
            rest_products()

    return floor


def has_skorch() -> bool:
    try:
        import skorch  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True


def row_of(name: str, seconds: dict[str, list[float]], losses: dict[str, float]) -> dict:
    """Return the row of one alternative; ours is held against the floor, the others against it."""
    to_floor = median_ratio(seconds[name], seconds[FLOOR])
    to_ours = median_ratio(seconds[name], seconds[OURS])
    row = {
        "alternative": name,
        "seconds": statistics.median(seconds[name]),
        "times the floor": to_floor,
        "times sksae": to_ours,
        "target": None,
        "met": None,
        "J": losses.get(name),
    }
    if name == OURS:
        verdict = at_most(to_floor, 1.3)
        row |= verdict | {"target": f"{verdict['target']} x floor"}
    elif name in TARGETS:
        verdict = at_least(to_ours, TARGETS[name])
        row |= verdict | {"target": f"{verdict['target']} x sksae"}
        if name in losses:
            row["met"] = row["met"] and excess(losses[OURS], losses[name]) <= SAME
    return row


def excess(ours: float, theirs: float) -> float:
    """Return by how many percent our J is above theirs."""
    return 100 * (ours / theirs - 1)


def compare(name: str, theirs: float, ours: float) -> str:
    """Say plainly whether our J is as good as theirs."""
    percent = excess(ours, theirs)
    if percent < -SAME:
        verdict = f"better by more than {SAME:g} %"
    elif percent <= SAME:
        verdict = f"the same within {SAME:g} %"
    else:
        verdict = f"WORSE by more than {SAME:g} %, so the seconds do not compare"
    return f"J of sksae less that of {name}: {percent:+.2f} %, {verdict}."


def main() -> None:
    set_threads(options.threads)
    quiet()
    X, source = rows_of_mnist(options.data, N_SAMPLES)
    fits = {OURS: fit_sksae, SKORCH: fit_skorch, LOOP: fit_loop, MLP: fit_mlp}
    notes = [
        f"{N_SAMPLES} x {X.shape[1]} -> {N_COMPONENTS}, {EPOCHS} epochs, batch {BATCH}, {PENALTY}.",
        source,
        "J over all rows, in float64 by the same formula, the median over the repeats.",
    ]
    if not has_skorch():
        del fits[SKORCH]
        notes.append("skorch is not installed: its row is missing.")
    runs = {name: lambda seed, fit=fit: fit(X, seed) for name, fit in fits.items()}
    seconds, weights = interleave({**runs, FLOOR: floor_of(X)}, options.repeats)
    losses = {
        name: statistics.median(objective(X, *found, **PENALTY) for found in weights[name])
        for name in fits
        if name != MLP
    }
    rows = [row_of(name, seconds, losses) for name in seconds]
    notes += [compare(name, J, losses[OURS]) for name, J in losses.items() if name != OURS]
    report("Five epochs of MNIST, from the call of fit to its return", rows, notes, options.json)


if __name__ == "__main__":
    main()
