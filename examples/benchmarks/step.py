"""A training step of Adam against the floor: its five matrix products by torch.mm or np.dot.

A step is all that fit does for a minibatch: gather the rows, forward, backward, update. It is
timed through fit alone: the difference of a long and a short fit, over the difference of their
steps, leaves out what a fit costs once (validation, the loss of the final weights).
"""

import statistics
from pathlib import Path

from _harness import (
    at_most,
    fastest,
    five_products,
    interleave,
    median_ratio,
    mnist_or_synthetic,
    option_parser,
    patches_or_synthetic,
    quiet,
    report,
    set_threads,
)

BATCH = 256
N_SAMPLES = 80 * BATCH  # whole batches only, as the floor has them
# Features and units: how many epochs the long fit has more, and the target. Small models
# take more epochs, so that each difference is of about a second.
CLAIMS = {
    "784-196": (4, 1.25),
    "784-1024": (2, 1.12),
    "64-256": (20, 2.0),
    "64-25": (40, 4.0),
}
ROWS = {784: mnist_or_synthetic, 64: patches_or_synthetic}


def fit(X, n_components: int, epochs: int):
    """Fit for exactly this number of epochs."""
    from sksae import SparseAutoencoderTransformer

    model = SparseAutoencoderTransformer(
        n_components,
        sparsity="kl",
        output_activation="sigmoid",
        scale_data=False,
        solver="adam",
        batch_size=BATCH,
        max_iter=epochs,
        tol=0,
        n_iter_no_change=epochs + 1,  # never stop early
        device="cpu",
        random_state=0,
    ).fit(X)
    assert model.n_iter_ == epochs
    return model


def measure(model: str, given: Path | None, repeats: int) -> dict:
    """Return the row of one model."""
    more_epochs, target = CLAIMS[model]
    n_features, n_components = map(int, model.split("-"))
    X = ROWS[n_features](given, N_SAMPLES)
    steps = more_epochs * N_SAMPLES // BATCH

    def repeated(products):
        def run(_) -> None:
            for _ in range(steps):
                products()

        return run

    bare = five_products(BATCH, n_features, n_components)
    seconds, _ = interleave(
        {
            "short": lambda _: fit(X, n_components, 1),
            **{library: repeated(products) for library, products in bare.items()},
            "long": lambda _: fit(X, n_components, 1 + more_epochs),
        },
        repeats,
    )
    ours = [long - short for long, short in zip(seconds["long"], seconds["short"], strict=True)]
    floor = fastest(seconds)
    ratio = median_ratio(ours, seconds[floor])
    return {
        "model": model,
        "ms a step": 1e3 * statistics.median(ours) / steps,
        **{f"{name}, ms": 1e3 * statistics.median(seconds[name]) / steps for name in bare},
        "floor": floor,
        "times the floor": ratio,
        **at_most(ratio, target),
    }


def main() -> None:
    parser = option_parser(__doc__, repeats=9)
    parser.add_argument("--models", nargs="+", choices=CLAIMS, default=list(CLAIMS))
    options = parser.parse_args()
    set_threads(options.threads)
    quiet()
    rows = [measure(model, options.data, options.repeats) for model in options.models]
    notes = [f"kl, sigmoid code and output, float32, batch {BATCH}, {N_SAMPLES} rows."]
    report(
        "An Adam step against its five matrix products by the faster library",
        rows,
        notes,
        options.json,
    )


if __name__ == "__main__":
    main()
