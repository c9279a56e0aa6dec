"""The stacked sparse autoencoder and its fine-tuning as one writes them by hand in PyTorch.

The other side of deep.py: modules, autograd, a DataLoader over a TensorDataset, torch.optim. It is
written with care and with the ordinary tools: inputs that need no gradient have none, codes of a
trained layer are computed once for all rows and not again in every epoch, weight decay is left to
Adam's weight_decay, which has the gradient of alpha/2 ||W||^2 and is the quicker way. The objective
is that of UFLDL, as sksae has it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LinearLR
from torch.utils.data import DataLoader, TensorDataset

BATCH = 256

# Of a minibatch, or of all rows, the cost less the weight decay.
Cost = Callable[..., Tensor]


@dataclass(frozen=True)
class Training:
    """How a network is trained: `rate` falls linearly to zero; L-BFGS has none and takes all rows.

    `max_iter` are epochs of Adam, iterations of L-BFGS.
    """

    max_iter: int
    rate: float = 1e-3
    solver: str = "adam"


@dataclass(frozen=True)
class Penalty:
    """Of a sparse autoencoder: the wanted activation, the weight of the KL term, weight decay."""

    rho: float
    beta: float
    alpha: float


# --- networks --------------------------------------------------------------------------------


class SparseAutoencoder(nn.Module):
    """Sigmoid code and output; uniform starting weights and no biases, as in UFLDL."""

    def __init__(self, n_features: int, n_components: int):
        super().__init__()
        self.encoder = nn.Linear(n_features, n_components)
        self.decoder = nn.Linear(n_components, n_features)
        bound = (6 / (n_features + n_components + 1)) ** 0.5
        for layer in (self.encoder, self.decoder):
            nn.init.uniform_(layer.weight, -bound, bound)
            nn.init.zeros_(layer.bias)

    def encode(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.encoder(x))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        code = self.encode(x)
        return torch.sigmoid(self.decoder(code)), code


class DeepClassifier(nn.Module):
    """The encoders of trained autoencoders with a linear layer of logits on top."""

    def __init__(self, autoencoders: Iterable[SparseAutoencoder], n_classes: int):
        super().__init__()
        layers: list[nn.Module] = []
        for autoencoder in autoencoders:
            encoder = autoencoder.encoder
            copied = nn.Linear(encoder.in_features, encoder.out_features)
            copied.load_state_dict(encoder.state_dict())
            layers += [copied, nn.Sigmoid()]
        self.encoders = nn.Sequential(*layers)
        self.top = nn.Linear(copied.out_features, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.top(self.encoders(x))


# --- training --------------------------------------------------------------------------------


def train(
    module: nn.Module,
    cost: Cost,
    tensors: Sequence[Tensor],
    decayed: Sequence[nn.Parameter],
    alpha: float,
    how: Training,
) -> None:
    """Minimise the cost and alpha/2 times the squares of the `decayed` parameters."""
    module.train()
    minimise = train_lbfgs if how.solver == "lbfgs" else train_adam
    minimise(module, cost, tensors, decayed, alpha, how)
    module.eval()


def train_adam(module, cost, tensors, decayed, alpha, how) -> None:
    loader = DataLoader(TensorDataset(*tensors), batch_size=BATCH, shuffle=True)
    chosen = {id(parameter) for parameter in decayed}
    others = [p for p in module.parameters() if id(p) not in chosen and p.requires_grad]
    optimizer = torch.optim.Adam(
        [{"params": list(decayed), "weight_decay": alpha}, {"params": others}], lr=how.rate
    )
    schedule = LinearLR(optimizer, 1.0, 0.0, total_iters=how.max_iter * len(loader))
    for _ in range(how.max_iter):
        for batch in loader:
            optimizer.zero_grad()
            cost(module, *batch).backward()
            optimizer.step()
            schedule.step()


def train_lbfgs(module, cost, tensors, decayed, alpha, how) -> None:
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.LBFGS(
        parameters,
        max_iter=how.max_iter,
        max_eval=2 * how.max_iter,
        tolerance_grad=0,
        tolerance_change=0,
        history_size=100,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = cost(module, *tensors)
        loss = loss + alpha / 2 * sum(parameter.square().sum() for parameter in decayed)
        loss.backward()
        return loss

    optimizer.step(closure)


def sparse_cost(penalty: Penalty) -> Cost:
    def cost(module: SparseAutoencoder, x: Tensor) -> Tensor:
        output, code = module(x)
        rho, rho_hat = penalty.rho, code.mean(dim=0)
        kl = rho * torch.log(rho / rho_hat) + (1 - rho) * torch.log((1 - rho) / (1 - rho_hat))
        return (output - x).square().sum() / (2 * len(x)) + penalty.beta * kl.sum()

    return cost


def classification_cost(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return functional.cross_entropy(module(x), y)


# --- the three steps -------------------------------------------------------------------------


def untrained(n_features: int, sizes: Sequence[int]) -> list[SparseAutoencoder]:
    """Return autoencoders with their starting weights, for a network without pre-training."""
    return [SparseAutoencoder(*pair) for pair in pairwise([n_features, *sizes])]


def fit_stack(
    X: np.ndarray, sizes: Sequence[int], penalty: Penalty, how: Training
) -> list[SparseAutoencoder]:
    """Train autoencoders one upon another, each on the codes of the one before."""
    x = torch.from_numpy(X)
    cost = sparse_cost(penalty)
    stack = []
    for size in sizes:
        module = SparseAutoencoder(x.shape[1], size)
        weights = [module.encoder.weight, module.decoder.weight]
        train(module, cost, [x], weights, penalty.alpha, how)
        stack.append(module)
        with torch.no_grad():
            x = module.encode(x)
    return stack


def codes(stack: Iterable[SparseAutoencoder], X: np.ndarray) -> np.ndarray:
    """Return the codes of the last autoencoder."""
    x = torch.from_numpy(X)
    with torch.no_grad():
        for module in stack:
            x = module.encode(x)
    return x.numpy()


def fit_top(
    stack: Sequence[SparseAutoencoder], X: np.ndarray, y: np.ndarray, alpha: float, how: Training
) -> DeepClassifier:
    """Train a softmax on the codes and leave the encoders as they are: before fine-tuning."""
    network = DeepClassifier(stack, int(y.max()) + 1)
    tensors = torch.from_numpy(codes(stack, X)), torch.from_numpy(y)
    train(network.top, classification_cost, tensors, [network.top.weight], alpha, how)
    return network


def fine_tune(
    network: DeepClassifier, X: np.ndarray, y: np.ndarray, alpha: float, how: Training
) -> DeepClassifier:
    """Train all layers together for the classes, with weight decay on the softmax alone."""
    tensors = torch.from_numpy(X), torch.from_numpy(y)
    train(network, classification_cost, tensors, [network.top.weight], alpha, how)
    return network


def accuracy(network: DeepClassifier, X: np.ndarray, y: np.ndarray) -> float:
    with torch.no_grad():
        found = network(torch.from_numpy(X)).argmax(dim=1)
    return float((found.numpy() == y).mean())
