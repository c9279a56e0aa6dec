"""Dictionaries with k active units: fitted by other packages, and a folder that remembers them."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
from _harness import say
from _measuring import REPOSITORY, digest
from _topk_data import Rows
from _topk_dictionary import Dictionary, Setting
from _topk_ours import OURS
from _topk_peers import PEERS

SCRIPT = Path(__file__).with_name("_topk_peers.py")
# To be raised when something in _topk_peers or _topk_data changes what is learnt.
PROTOCOL = 1


def available(peers: Path | None) -> tuple[list[str], list[str]]:
    """Return the peers that have an environment in the folder, and those that do not."""
    found = [name for name, (folder, _, _) in PEERS.items() if peers and python_of(peers / folder)]
    return found, [name for name in PEERS if name not in found]


def python_of(environment: Path) -> Path | None:
    """Return the interpreter of a virtual environment, or None where there is none."""
    for path in (environment / "bin" / "python", environment / "Scripts" / "python.exe"):
        if path.is_file():
            return path
    return None


def learn(
    name: str,
    rows: Rows,
    setting: Setting,
    peers: Path | None,
    cache: Path | None,
    threads: int | None,
) -> Dictionary:
    """Return what a learner makes of rows, from the cache if it is there."""

    def fit() -> Dictionary:
        say(f"{name}, {rows.name}, {setting} ...")
        if name in PEERS:
            return fit_peer(name, peers, rows, setting, threads)
        return OURS[name](rows, setting)

    return recalled(cache, name, rows, setting, fit)


def recalled(
    folder: Path | None, name: str, rows: Rows, setting: Setting, fit: Callable[[], Dictionary]
) -> Dictionary:
    """Return the dictionary that is kept for this, or fit it and keep it."""
    if folder is None:
        return fit()
    key = {
        "learner": name,
        "rows": hashlib.sha256(rows.X_train.tobytes()).hexdigest()[:16],
        "protocol": PROTOCOL,
        **setting.given(),
    }
    if name.startswith("sksae"):
        key["sksae"] = digest(REPOSITORY / "sksae", "**/*.py")
    text = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]
    path = folder / f"{rows.name}-{name}-{setting.seed}-{text}.npz".replace(" ", "_")
    if not path.is_file():
        dictionary = fit()
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(path, **asdict(dictionary))
        return dictionary
    return read(path)


def read(path: Path) -> Dictionary:
    with np.load(path) as file:
        parts = {name: file[name] for name in Dictionary.__dataclass_fields__}
    scalars = ("seconds", "threads", "version")
    return Dictionary(**parts | {name: parts[name].item() for name in scalars})


def fit_peer(
    name: str, peers: Path, rows: Rows, setting: Setting, threads: int | None
) -> Dictionary:
    """Have a package fit its dictionary, in a process of its own Python."""
    environment, _, _ = PEERS[name]
    with tempfile.TemporaryDirectory() as folder:
        X, result = Path(folder, "rows.npy"), Path(folder, "result.npz")
        np.save(X, rows.X_train)
        # -P: no module of this folder stands for one that the package imports.
        command = [
            str(python_of(peers / environment)),
            "-P",
            str(SCRIPT),
            name,
            str(X),
            str(result),
        ]
        options = setting.given() | ({} if threads is None else {"threads": threads})
        for option, value in options.items():
            command += [f"--{option.replace('_', '-')}", str(value)]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=os.environ | {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled"},
        )
        if done.returncode:
            sys.exit(f"{name} failed:\n{done.stderr[-2000:]}")
        return read(result)
