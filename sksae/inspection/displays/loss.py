"""LossCurveDisplay: how a training went, epoch by epoch."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from sklearn.base import is_classifier

from sksae.base.protocols import HasNetwork
from sksae.inspection.displays.checks import check_some
from sksae.inspection.displays.drawing import (
    BLUE,
    GREEN,
    GREY,
    SMALL,
    VERMILLION,
    Axes,
    Figure,
    check_matplotlib,
    draw_legend,
    log_axis,
    one_axes,
    whole_numbers,
)
from sksae.inspection.subject import Subject

# Colour and line of each part of the loss.
STYLES = {
    "reconstruction": (VERMILLION, "--"),
    "target": (VERMILLION, "--"),
    "sparsity": (GREEN, ":"),
    "decay": (GREY, "-."),
}


class Curve(NamedTuple):
    """How one training went.

    Attributes
    ----------
    name : str
        Of what was trained; "" where it is the only one.
    loss : sequence of float
        J in each epoch.
    validation : sequence of float or None
        The score of the rows held out after each epoch.
    parts : mapping of str to sequence of float
        What J is the sum of, by name; empty where that is not known.
    """

    name: str
    loss: Sequence[float]
    validation: Sequence[float] | None = None
    parts: Mapping[str, Sequence[float]] = {}


class LossCurveDisplay:
    """The loss over the epochs of a training, its parts, and the score of held-out rows.

    Make it by `from_estimator`. The loss J and its parts are on a logarithmic axis, if none is
    negative; the score of the rows that ``early_stopping`` holds out is on an axis of its own,
    on the right.

    Parameters
    ----------
    curves : sequence of Curve
        How each training went, in order: named tuples of ``name``, ``loss``, ``validation`` and
        ``parts``.
    step : str, default="epoch"
        What the loss was taken after.
    score_name : str, default="R²"
        What the score of held-out rows is.

    Attributes
    ----------
    figure_ : matplotlib Figure
        What `plot` has drawn into.
    ax_ : matplotlib Axes
        With the loss.
    validation_ax_ : matplotlib Axes or None
        With the score of held-out rows, if there are such.

    See Also
    --------
    sklearn.model_selection.LearningCurveDisplay : Scores by the number of rows.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sksae import SparseAutoencoderTransformer
    >>> from sksae.inspection import LossCurveDisplay
    >>> sae = SparseAutoencoderTransformer(30, max_iter=10, early_stopping=True, random_state=0)
    >>> display = LossCurveDisplay.from_estimator(sae.fit(load_digits().data))
    >>> len(display.curves[0].loss), display.validation_ax_.get_ylabel()
    (10, 'R² of held-out rows')
    """

    figure_: Figure
    ax_: Axes
    validation_ax_: Axes | None

    def __init__(
        self, curves: Sequence[Curve], *, step: str = "epoch", score_name: str = "R²"
    ) -> None:
        self.curves = curves
        self.step = step
        self.score_name = score_name

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Axes | None = None) -> Self:
        """Draw how the training of a fitted estimator went.

        Parameters
        ----------
        estimator : estimator
            A fitted autoencoder, stack, classifier or regressor, or a Pipeline, search (of which it
            is the ``best_estimator_``) or other estimator of scikit-learn with one in it (see
            :func:`~sksae.metrics.sparsity_scorers`). For stacks, classifiers and regressors the
            display shows the training of all layers together; for a stack without it, the trainings
            of its members, one after the other.
        ax : matplotlib Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        display : LossCurveDisplay
            With the curves drawn.

        Raises
        ------
        ValueError
            If there is no autoencoder in ``estimator``, or it has no record of its training, such
            as one loaded from a file of another program.
        NotFittedError
            If it is not fitted.
        ImportError
            If matplotlib is not installed.
        """
        check_matplotlib("LossCurveDisplay")
        autoencoder: Any = Subject(estimator, needed_by="LossCurveDisplay").autoencoder
        curves = [curve for curve in curves_of(autoencoder) if len(curve.loss)]
        if not curves:
            raise ValueError(
                f"LossCurveDisplay: this {type(autoencoder).__name__} has no loss_curve_, as its "
                "weights were loaded and not trained here: fit it, or draw another one."
            )
        is_one = hasattr(autoencoder, "loss_curve_")
        trained = [autoencoder] if is_one else autoencoder.autoencoders_
        steps = {
            "iteration" if each.solver == "lbfgs" else "epoch"
            for each in trained
            if len(each.loss_curve_)
        }
        step = " or ".join(sorted(steps))
        score_name = "accuracy" if is_classifier(autoencoder) else "R²"
        return cls(curves, step=step, score_name=score_name).plot(ax)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        display : LossCurveDisplay
            Itself.

        Raises
        ------
        ValueError
            If there are no curves.
        ImportError
            If matplotlib is not installed.
        """
        check_some("LossCurveDisplay", curves=self.curves)
        ax = one_axes(ax, caller="LossCurveDisplay", size=(6.0, 3.6))
        has_validation = any(curve.validation is not None for curve in self.curves)
        right = ax.twinx() if has_validation else None
        lines: dict[str, Any] = {}
        start = 0
        for curve in self.curves:
            self._draw_losses(ax, curve, start, lines)
            if right is not None and curve.validation is not None:
                x = _steps(curve.validation, start)
                # Its colour is that of the text, which stands out from any background.
                ink = ax.xaxis.label.get_color()
                (line,) = right.plot(x, curve.validation, color=ink, linewidth=1.0, marker=".")
                lines.setdefault(f"{self.score_name} of held-out rows", line)
            start += len(curve.loss)
        self._name_trainings(ax)
        whole_numbers(ax.xaxis)
        self._scale_losses(ax)
        ax.set(xlabel=self.step, ylabel="loss")
        if right is not None:
            right.set_ylabel(f"{self.score_name} of held-out rows")
        if len(lines) > 1:
            draw_legend(ax, 3, handles=lines)
        self.figure_, self.ax_, self.validation_ax_ = ax.figure, ax, right
        return self

    def _draw_losses(self, ax: Axes, curve: Curve, start: int, lines: dict[str, Any]) -> None:
        """Draw a training's loss and its parts, and put the first line of each name into lines."""
        # Of a single epoch there is no line.
        marker = "." if len(curve.loss) == 1 else None
        steps = _steps(curve.loss, start)
        (line,) = ax.plot(steps, curve.loss, color=BLUE, linewidth=2.0, marker=marker)
        lines.setdefault("loss", line)
        for name, values in curve.parts.items():
            if not np.any(values):
                continue  # a code without a penalty, or weights that do not decay
            colour, style = STYLES.get(name, (GREY, "-"))
            steps = _steps(values, start)
            (line,) = ax.plot(steps, values, color=colour, linestyle=style, marker=marker)
            lines.setdefault(name, line)

    def _scale_losses(self, ax: Axes) -> None:
        """Make the axis of losses logarithmic if none is negative; those of 0 are left out."""
        drawn = np.concatenate(
            [values for curve in self.curves for values in (curve.loss, *curve.parts.values())]
        )
        positive = drawn[np.isfinite(drawn) & (drawn > 0.0)]
        if len(positive) and not (drawn < 0.0).any():
            ax.set_yscale("log", nonpositive="mask")
            log_axis(ax.yaxis, positive.min(), positive.max())

    def _name_trainings(self, ax: Axes) -> None:
        """Write the name of each training above its curve, if there are several."""
        if len(self.curves) == 1:
            return
        end = 0
        for curve in self.curves:
            start, end = end, end + len(curve.loss)
            if start:
                ax.axvline(start + 0.5, color=GREY, linewidth=0.8)
            ax.annotate(
                curve.name,
                (0.5 * (start + end + 1), 1.0),
                xycoords=ax.get_xaxis_transform(),
                xytext=(0.0, 3.0),
                textcoords="offset points",
                horizontalalignment="center",
                fontsize=SMALL,
                parse_math=False,
            )


def curves_of(autoencoder: HasNetwork) -> Iterator[Curve]:
    """Yield how an autoencoder, or what is made of them, was trained.

    Parameters
    ----------
    autoencoder : HasNetwork
        Fitted.
    """
    trained: Any = autoencoder
    if hasattr(trained, "loss_curve_"):
        yield curve_of(trained)
        return
    for name, member in zip(member_names(trained), trained.autoencoders_, strict=True):
        yield curve_of(member, name)


def curve_of(trained: Any, name: str = "") -> Curve:
    """Return how one estimator was trained, by its fitted attributes."""
    losses, scores = trained.loss_curve_, trained.validation_score_curve_
    return Curve(name, losses, scores, trained.loss_parts_)


def member_names(stack: Any) -> list[str]:
    """Return the names of a stack's members."""
    given = stack.autoencoders or [None]
    is_named = isinstance(given[0], tuple | list)
    return [entry[0] if is_named else f"sae{index}" for index, entry in enumerate(given)]


def _steps(values: Sequence[float], start: int) -> np.ndarray:
    return np.arange(start + 1, start + len(values) + 1)
