"""Fit one dictionary of another package; run by the Python of an environment that has it.

    python -P _topk_peers.py "SAELens TopK" rows.npy result.npz --width 3072 --k 32

Nothing of sksae is imported here. Rows are centred and have a mean squared norm of 1. What is
learnt is written in one form for all packages,

    code = relu(rows @ W_enc + b_enc), its k largest or those above a threshold
    rows = code @ W_dec + b_dec

together with the seconds that training took, imports and reading left out, and the version.

Each package has its own trainer, or where that takes a language model and not rows, its model and
loss in the loop of its trainer. Everything is at its default but the rate where one is given, and:

SAELens
    SAETrainer, constant rate 3e-4. A unit is dead, and taught by what the others leave over,
    after 1000 silent steps: fewer steps than that know of none.
sparsify
    SparseCoder in the loop of its Trainer, which takes a language model only: signs of the
    gradient with momentum, the average of the steps, rate 5e-3 / sqrt(width / 2^14). Dead units
    are left alone. It does not scale what it is given, activations of a language model, whose
    features are of order 1: here each has variance 1, which is also better than rows of norm 1.
dictionary_learning
    trainSAE, rate 2e-4 / sqrt(width / 2^14). The rate rises and thresholds wait for 1000 steps,
    here for a tenth of all steps if that is less: it refuses to train for no longer than that.
    A unit is dead after 10^7 rows. Rows of norm 1, as it makes them where it is told to scale.
overcomplete
    train_sae with Adam and the squared error, rate 5e-4, all as in its documentation, where each
    feature has variance 1 too. It has no bias of the output, and nothing for dead units.

With ``--dead-epochs`` a unit is dead after so many epochs in the first three, and sparsify teaches
them with the weight 1/32 that dictionary_learning has: for trainings as short as a few hundred
steps, which those numbers were not made for.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import torch


@dataclass(frozen=True)
class Task:
    """Rows to learn from, and how.

    Attributes
    ----------
    X : Tensor of shape (n_rows, n_features)
    width, k, batch, epochs, seed : int
    rate : float or None
        None for the package's default.
    dead_epochs : int or None
        Epochs without activity after which a unit is dead; None for the package's default.
    """

    X: torch.Tensor
    width: int
    k: int
    batch: int
    epochs: int
    seed: int
    rate: float | None
    dead_epochs: int | None

    @property
    def n_features(self) -> int:
        return self.X.shape[1]

    @property
    def steps_per_epoch(self) -> int:
        return len(self.X) // self.batch

    @property
    def n_steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    def batches(self) -> Iterator[torch.Tensor]:
        """Yield batches of rows in a new order each epoch; rows over at its end are left out."""
        generator = torch.Generator().manual_seed(self.seed)
        for _ in range(self.epochs):
            order = torch.randperm(len(self.X), generator=generator)
            for which in order[: self.steps_per_epoch * self.batch].split(self.batch):
                yield self.X[which]


@dataclass
class Learnt:
    """What a package learnt; the encoder takes rows of which b_dec was taken off.

    Attributes
    ----------
    W_enc, b_enc : Tensor of shape (n_features, width) and (width,)
    W_dec, b_dec : Tensor of shape (width, n_features) and (n_features,)
    threshold : float
        nan where the k largest of each row are the code.
    scale : float
        By how much the package's rows were longer than those given.
    """

    W_enc: torch.Tensor
    b_enc: torch.Tensor
    W_dec: torch.Tensor
    b_dec: torch.Tensor
    threshold: float = float("nan")
    scale: float = 1.0

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays for rows as they were given."""
        parts = (self.W_enc, self.b_enc, self.W_dec, self.b_dec)
        W_enc, b_enc, W_dec, b_dec = (part.detach().double() for part in parts)
        return {
            "W_enc": W_enc.float().numpy(),
            "b_enc": ((b_enc - b_dec @ W_enc) / self.scale).float().numpy(),
            "W_dec": W_dec.float().numpy(),
            "b_dec": (b_dec / self.scale).float().numpy(),
            "threshold": np.float32(self.threshold / self.scale),
        }


# --- SAELens ---------------------------------------------------------------------------------


def saelens_topk(task: Task) -> Learnt:
    from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig

    return saelens(task, TopKTrainingSAE, TopKTrainingSAEConfig)


def saelens_batchtopk(task: Task) -> Learnt:
    from sae_lens import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig

    return saelens(task, BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig)


def saelens(task: Task, model: type, configuration: type) -> Learnt:
    from sae_lens import SAETrainer
    from sae_lens.config import SAETrainerConfig

    sae = model(
        configuration(d_in=task.n_features, d_sae=task.width, k=task.k, device="cpu"),
    )
    rate = task.rate or 3e-4
    settings = SAETrainerConfig(
        total_training_samples=task.n_steps * task.batch,
        train_batch_size_samples=task.batch,
        lr=rate,
        lr_end=rate,  # without meaning at a constant rate, but asked for
    )
    if task.dead_epochs:
        settings.dead_feature_window = task.dead_epochs * task.steps_per_epoch
    SAETrainer(settings, sae, task.batches()).fit()
    # It compares activations times the norms of their atoms.
    norms = sae.W_dec.norm(dim=1)
    threshold = float(getattr(sae, "topk_threshold", float("nan")))
    return Learnt(
        sae.W_enc * norms, sae.b_enc * norms, sae.W_dec / norms[:, None], sae.b_dec, threshold
    )


# --- sparsify --------------------------------------------------------------------------------


def sparsify_topk(task: Task) -> Learnt:
    from schedulefree import ScheduleFreeWrapper
    from sparsify import SparseCoder, SparseCoderConfig
    from sparsify.sign_sgd import SignSGD

    model = SparseCoder(task.n_features, SparseCoderConfig(num_latents=task.width, k=task.k))
    rate = task.rate or 5e-3 / (task.width / 2**14) ** 0.5
    optimizer = ScheduleFreeWrapper(SignSGD(model.parameters(), lr=rate), momentum=0.95)
    optimizer.train()
    scale = task.n_features**0.5
    silent = torch.zeros(task.width, dtype=torch.long)  # steps without activity
    for step, X in enumerate(task.batches()):
        X = X * scale
        if step == 0:
            model.b_dec.data = X.mean(dim=0)
        model.set_decoder_norm_to_unit_norm()
        dead = silent > task.dead_epochs * task.steps_per_epoch if task.dead_epochs else None
        out = model(X, dead_mask=dead)
        (out.fvu + out.auxk_loss / 32).backward()
        model.remove_gradient_parallel_to_decoder_directions()
        optimizer.step()
        optimizer.zero_grad()
        silent += 1
        silent[out.latent_indices.flatten()] = 0
    optimizer.eval()
    return Learnt(model.encoder.weight.T, model.encoder.bias, model.W_dec, model.b_dec, scale=scale)


# --- dictionary_learning ---------------------------------------------------------------------


def dictionary_learning_topk(task: Task) -> Learnt:
    from dictionary_learning.trainers.top_k import AutoEncoderTopK, TopKTrainer

    return dictionary_learning(task, TopKTrainer, AutoEncoderTopK, by_threshold=False)


def dictionary_learning_batchtopk(task: Task) -> Learnt:
    from dictionary_learning.trainers.batch_top_k import BatchTopKSAE, BatchTopKTrainer

    return dictionary_learning(task, BatchTopKTrainer, BatchTopKSAE, by_threshold=True)


def dictionary_learning(task: Task, trainer: type, model: type, by_threshold: bool) -> Learnt:
    from dictionary_learning.training import trainSAE

    class Trainer(trainer):
        def __init__(self, **settings):
            super().__init__(**settings)
            if task.dead_epochs:
                self.dead_feature_threshold = task.dead_epochs * task.steps_per_epoch * task.batch

    few = min(1000, task.n_steps // 10)
    settings = {
        "trainer": Trainer,
        "steps": task.n_steps,
        "activation_dim": task.n_features,
        "dict_size": task.width,
        "k": task.k,
        "layer": 0,
        "lm_name": "rows",
        "warmup_steps": few,
        "threshold_start_step": few,
        "seed": task.seed,
        "device": "cpu",
        "lr": task.rate,
    }
    with tempfile.TemporaryDirectory() as folder:
        trainSAE(task.batches(), [settings], steps=task.n_steps, save_dir=folder, device="cpu")
        ae = model.from_pretrained(Path(folder, "trainer_0", "ae.pt"))
    return Learnt(
        ae.encoder.weight.T,
        ae.encoder.bias,
        ae.decoder.weight.T,
        ae.b_dec,
        float(ae.threshold) if by_threshold else float("nan"),
    )


# --- overcomplete ----------------------------------------------------------------------------


def overcomplete_topk(task: Task) -> Learnt:
    from overcomplete.sae import TopKSAE

    return overcomplete(task, TopKSAE(task.n_features, task.width, top_k=task.k))


def overcomplete_batchtopk(task: Task) -> Learnt:
    from overcomplete.sae import BatchTopKSAE

    # So many in the whole batch.
    return overcomplete(task, BatchTopKSAE(task.n_features, task.width, top_k=task.k * task.batch))


def overcomplete(task: Task, model: torch.nn.Module) -> Learnt:
    from overcomplete.sae import train_sae

    scale = task.n_features**0.5
    rows = torch.utils.data.TensorDataset(task.X * scale)
    loader = torch.utils.data.DataLoader(rows, task.batch, shuffle=True, drop_last=True)

    def criterion(x, x_hat, pre_codes, codes, dictionary):
        return (x - x_hat).square().mean()

    optimizer = torch.optim.Adam(model.parameters(), lr=task.rate or 5e-4)
    train_sae(model, loader, criterion, optimizer, nb_epochs=task.epochs)
    linear = model.encoder.final_block[0]
    threshold = getattr(model, "running_threshold", None)
    return Learnt(
        linear.weight.T,
        linear.bias,
        model.get_dictionary(),
        torch.zeros(task.n_features),
        float("nan") if threshold is None else float(threshold),
        scale,
    )


# --- all -------------------------------------------------------------------------------------

# Environment, distribution and function of each.
PEERS: dict[str, tuple[str, str, Callable[[Task], Learnt]]] = {
    "SAELens TopK": ("saelens", "sae-lens", saelens_topk),
    "SAELens BatchTopK": ("saelens", "sae-lens", saelens_batchtopk),
    "sparsify TopK": ("sparsify", "eai-sparsify", sparsify_topk),
    "dictionary_learning TopK": ("dictlearn", "dictionary-learning", dictionary_learning_topk),
    "dictionary_learning BatchTopK": (
        "dictlearn",
        "dictionary-learning",
        dictionary_learning_batchtopk,
    ),
    "overcomplete TopK": ("overcomplete", "overcomplete", overcomplete_topk),
    "overcomplete BatchTopK": ("overcomplete", "overcomplete", overcomplete_batchtopk),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("rows", type=Path, help=".npy with float32 rows")
    parser.add_argument("result", type=Path, help=".npz to be written")
    for name, default in (("width", 3072), ("k", 32), ("batch", 1024), ("epochs", 20), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default, help="default %(default)s")
    parser.add_argument("--rate", type=float, help="default the package's")
    parser.add_argument("--dead-epochs", type=int, help="default the package's")
    parser.add_argument("--threads", type=int, help="of torch; default as they come")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    X = torch.from_numpy(np.load(options.rows))
    task = Task(
        X,
        options.width,
        options.k,
        options.batch,
        options.epochs,
        options.seed,
        options.rate,
        options.dead_epochs,
    )
    _, distribution, fit = PEERS[options.peer]
    torch.manual_seed(options.seed)
    fit(Task(X[:128], 64, 4, 64, 1, 0, None, None))  # imports, threads
    torch.manual_seed(options.seed)
    start = time.perf_counter()
    learnt = fit(task)
    seconds = time.perf_counter() - start
    np.savez(
        options.result,
        **learnt.arrays(),
        seconds=seconds,
        threads=torch.get_num_threads(),
        version=metadata.version(distribution),
    )


if __name__ == "__main__":
    main()
