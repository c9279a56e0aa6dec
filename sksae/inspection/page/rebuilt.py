"""How well rows are rebuilt, found block by block."""

from typing import Any

import numpy as np

from sksae.inspection.subject import Block, Subject, dense_rows


class Rebuilt:
    """R^2 of the reconstruction of rows that are seen a block at a time.

    Parameters
    ----------
    subject : Subject
        Who rebuilds them.
    """

    def __init__(self, subject: Subject) -> None:
        self._autoencoder: Any = subject.autoencoder
        self._has_decoder = bool(subject.network.decoder)
        self._n_rows, self._error, self._squares = 0, 0.0, 0.0
        self._origin: np.ndarray | None = None
        self._total = np.zeros(subject.n_features)

    def see(self, block: Block) -> None:
        """Add the rows of a block."""
        if not self._has_decoder:
            return
        values = dense_rows(block.rows)
        # Sums of what is left of rows less a mean keep their digits.
        if self._origin is None:
            self._origin = values.mean(axis=0)
        values = values - self._origin
        self._n_rows += len(values)
        self._total += values.sum(axis=0)
        self._squares += float(np.square(values).sum())
        self._error -= float(np.sum(self._autoencoder.score_samples(block.rows)))

    @property
    def r_squared(self) -> float:
        """As ``score`` gives it; nan where rows are not rebuilt or are all alike."""
        if not self._n_rows:
            return float("nan")
        deviation = self._squares - float(np.square(self._total).sum()) / self._n_rows
        return 1.0 - self._error / deviation if deviation > 0.0 else float("nan")
