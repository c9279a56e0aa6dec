"""The autoencoder of _alternatives.py as a torch module, trained by skorch and by a loop."""

import torch
from _alternatives import Penalty, Setting
from torch.optim.lr_scheduler import LinearLR

OUTPUTS = {"sigmoid": torch.sigmoid, "identity": lambda z: z}


class Autoencoder(torch.nn.Module):
    """Sigmoid code and sigmoid or linear output, from given weights."""

    def __init__(self, start, output):
        super().__init__()
        W_in, b_in, W_out, b_out = (torch.tensor(array, dtype=torch.float32) for array in start)
        self.encoder = torch.nn.Linear(*W_in.shape)
        self.decoder = torch.nn.Linear(*W_out.shape)
        self.output = OUTPUTS[output]
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
        return self.output(self.decoder(code)), code


class Objective(torch.nn.Module):
    """J of a minibatch, less the weight decay."""

    def __init__(self, penalty: Penalty):
        super().__init__()
        self.rho, self.beta = penalty.rho, penalty.beta

    def forward(self, prediction, x):
        output, code = prediction
        rho, rho_hat = self.rho, code.mean(dim=0)
        kl = rho * torch.log(rho / rho_hat) + (1 - rho) * torch.log((1 - rho) / (1 - rho_hat))
        return (output - x).square().sum() / (2 * len(x)) + self.beta * kl.sum()


def weights_of_module(module: Autoencoder) -> tuple:
    """Return W_in, b_in, W_out, b_out as numpy arrays, in the shapes of starting_weights."""
    layers = module.encoder, module.decoder
    return tuple(
        array.detach().numpy() for layer in layers for array in (layer.weight.T, layer.bias)
    )


def fit_skorch(X, setting: Setting, seed: int) -> tuple:
    from skorch import NeuralNet
    from skorch.callbacks import LRScheduler

    torch.manual_seed(seed)
    schedule = LRScheduler(
        LinearLR,
        start_factor=1.0,
        end_factor=0.0,
        total_iters=setting.n_steps(X),
        step_every="batch",
    )
    net = NeuralNet(
        Autoencoder,
        module__start=setting.start(X, seed),
        module__output=setting.output,
        criterion=Objective,
        criterion__penalty=setting.penalty,
        optimizer=torch.optim.Adam,
        optimizer__param_groups=[("*.weight", {"weight_decay": setting.penalty.alpha})],
        lr=setting.rate,
        max_epochs=setting.epochs,
        batch_size=setting.batch,
        iterator_train__shuffle=True,
        train_split=None,
        callbacks=[("schedule", schedule)],
        verbose=0,
    ).fit(X, X)
    return weights_of_module(net.module_)


def fit_loop(X, setting: Setting, seed: int) -> tuple:
    torch.manual_seed(seed)
    module = Autoencoder(setting.start(X, seed), setting.output)
    criterion = Objective(setting.penalty)
    parameters = dict(module.named_parameters())
    optimizer = torch.optim.Adam(
        [
            {
                "params": [p for name, p in parameters.items() if name.endswith(".weight")],
                "weight_decay": setting.penalty.alpha,
            },
            {"params": [p for name, p in parameters.items() if name.endswith(".bias")]},
        ],
        lr=setting.rate,
    )
    schedule = LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=setting.n_steps(X))
    rows = torch.utils.data.TensorDataset(torch.from_numpy(X))
    loader = torch.utils.data.DataLoader(rows, batch_size=setting.batch, shuffle=True)
    for _ in range(setting.epochs):
        for (x,) in loader:
            optimizer.zero_grad()
            criterion(module(x), x).backward()
            optimizer.step()
            schedule.step()
    return weights_of_module(module)
