"""All units in a table: how active they are, what they have to do with a target, and labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sksae.inspection.subject import Subject
from sksae.inspection.survey import survey
from sksae.inspection.table.maker import TableMaker


@np.errstate(all="ignore")
def feature_table(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    feature_names: Sequence[str] | None = None,
    text: Sequence[str] | None = None,
    compare: Any = None,
    random_state: int | np.random.RandomState | None = 0,
) -> Any:
    r"""Return a table of all units: their activity, their relation to y, and a label.

    Rows are divided at random into two halves (each class in the same proportion). The first half
    serves to choose the class that a unit is compared with, and the words or conditions of its
    label. The second half serves to measure everything that depends on such a choice. So a choice
    that fits only the first half is detected, and intervals and p-values are valid. This holds for
    rows that the estimator was not trained on. Training rows are second best for an autoencoder,
    which has not seen y. For a classifier or a regressor, which has seen y, use new rows.

    X is read in blocks, once (twice, if the thresholds of activity are not yet known). Memory is
    needed for one block and for the entries of active units: X may be a memory map larger than
    memory.

    Parameters
    ----------
    estimator : estimator
        A fitted autoencoder, stack, classifier or regressor, or a Pipeline, search or other
        estimator of scikit-learn with one in it (see :func:`~sksae.metrics.sparsity_scorers`).
    X : {array-like, sparse matrix, DataFrame, sequence of str} of n_samples rows
        Rows, as ``estimator`` takes them.
    y : array-like of shape (n_samples,), default=None
        Targets; with None there are no columns about them. Strings, booleans and integers are
        classes. Floats are numbers, except whole floats with at most 20 different values, which are
        classes. With a classifier they are always classes, and with a regressor always numbers.
    feature_names : sequence of str, default=None
        Names of the columns of X, or of the features that reach the autoencoder in a pipeline. By
        default the names in a DataFrame or in the steps of a pipeline. Without names there are no
        rules. With texts, names have no effect.
    text : sequence of str of shape (n_samples,), default=None
        The text of each row, for labels. By default X itself, if it is a sequence of texts.
    compare : estimator or array-like of shape (n_atoms, n_features), default=None
        Atoms of the same features, or a fitted estimator with such atoms. Each atom of
        ``estimator`` is compared with them, for example to see whether a training with another seed
        finds it too.
    random_state : int, RandomState instance or None, default=0
        Divides rows into halves, and draws the rows for rules if there are more than 5 000 in a
        half.

    Returns
    -------
    table : DataFrame of n_components rows
        Its index is the number of the unit. Columns are:

        - ``density``, the share of rows in which the unit is active
          (:func:`~sksae.metrics.is_active`);
        - ``mean_activation`` and ``largest_activation``, the mean over all rows and the largest
          magnitude, of activations, or of (1 + a) / 2 of tanh units with ``sparsity="kl"``, as in
          the fitted attributes ``mean_activation_`` and ``largest_activation_`` for the training
          rows;
        - ``atom_norm``, the norm of the unit's atom in ``components_``; nan where there are none
          (hidden layers, stacks, classifiers, regressors);
        - ``nearest_unit`` and ``nearest_cosine``, the other unit whose atom has the largest cosine
          with this one, and that cosine. Near 1 they are twins. Without atoms, the weights of the
          encoder are compared if it has one layer; otherwise the columns are empty;
        - ``compared_unit`` and ``compared_cosine``, the same for the atoms in ``compare``; only
          with it.

        With y, of the second half of the rows:

        - ``target_class``, the class that the unit is compared with; only if y are classes. Of two
          it is the second in sorted order; of more the one for which the separation is largest in
          magnitude on the first half. None if no class was chosen;
        - ``correlation``, Pearson's, of activations with y, or with 1 for rows of this class and 0
          for others;
        - ``separation``, the mean of y in rows in which the unit is active, minus its mean in the
          others; for classes the share of rows of the class, minus this share in the others;
        - ``separation_low`` and ``separation_high``, the ends of its 95 % confidence interval:
          Welch's for numbers [1]_, and Newcombe's hybrid score interval for shares, method 10 of
          [2]_;
        - ``p_value``, of the hypothesis that the separation is 0, two-sided: by Welch's t-test or
          Fisher's exact test. One test for each unit, as its class was chosen on other rows;
        - ``p_adjusted``, adjusted for many tests [3]_: among the units with a value below q, at
          most a share of q is expected to have nothing to do with y. All tested units count.

        With texts, or with features that have names:

        - ``label``, what active rows have in common, found on the first half; None if no label can
          be given. See the notes below;
        - ``label_f1``, ``label_precision`` and ``label_recall``, how well "the label holds"
          predicts the rows of the second half in which the unit is active;
        - ``base_f1``, the F1 of a label that always holds, :math:`2 p / (1 + p)` for a unit that is
          active in a share p of these rows. A useful label has a larger F1.

        A unit that is active, or inactive, in fewer than 5 rows of the second half (10, if y are
        numbers), or of the first one if a class is chosen there, has nan in the columns about y. A
        unit that is active in fewer than 5 rows of the first half, or in all of them, has no label.
        Nor has a unit for which "always" has a larger F1 there than any label.

    Raises
    ------
    ValueError
        If ``text`` or y have another length than X, y is missing somewhere, is not finite or of
        one class alone, ``compare`` has other features or no atoms, there are more or fewer names
        than features, or there is no autoencoder in ``estimator``; or if X does not fit.
    TypeError
        If a text is no string.
    NotFittedError
        If ``estimator`` or ``compare`` is not fitted.
    ImportError
        If pandas is not installed, which the extra ``table`` installs.

    See Also
    --------
    top_samples : The rows that one unit stands for.
    sksae.metrics.mean_max_cosine_similarity : The mean of ``compared_cosine``.

    Notes
    -----
    **Intervals and p-values.** Fisher's test is exact and conservative. Welch's test assumes that
    means are nearly normal: with a skewed y and about ten active rows its p-values are too small.
    With targets unrelated to all of 20 units, 11 % of tables had a ``p_adjusted`` below 0.05 for
    exponential targets, and 12 % for log-normal ones, instead of 5 %. Take logarithms or ranks of
    such a y.

    **Words.** A label of a text, ``"matrix, sparse"``, holds in rows that contain one of its words
    (one to five). Words are ranked by how much more often active rows contain them than others:
    log-odds with an informative Dirichlet prior, divided by their standard deviation, [4]_
    (equations 16, 20 and 22), with rows that contain a word in the place of its occurrences, and a
    prior of the weight of 100 rows. From the twenty words with the highest rank, the label takes
    one after the other the word that gains most F1 on the first half, as long as the gain is more
    than 0.02 and more than one more row would give. Labels may contain very common words, because
    there are units that are active where a text says "in" or "which"; a label without such a word
    would be wrong. Words are runs of at least two letters, digits and underscores, and not digits
    alone; case makes no difference. Sparse features that have names and are never negative, such as
    counts of words, are words too: a label holds if one of them is not 0.

    **Rules.** Other features with names are put into conditions, such as ``"alcohol > 12.8 and hue
    <= 0.9"``, ``"4.9 < length <= 6.1"``, ``"age <= 20 or income > 90"``, of features that are 0 or
    1 ``"smoker = 1"``, and of columns of a frame that hold at most 20 different words ``"city !=
    Rome"``. They use the columns of X if these have names, because users know these and not the
    scaled ones; otherwise the features that reach the autoencoder. All conditions at 25 quantiles
    of each feature, rounded to few digits, are tried on the first half. The best conditions on four
    features are then combined with all second conditions. The one or two conditions with the
    largest F1 make the rule; a second condition must gain as much as a further word. With more than
    100 features there are fewer cut points, and with more than 5 000 no rules.

    A label is one short statement. A low ``label_f1`` does not mean that a unit has no meaning, but
    that no such statement describes it.

    References
    ----------
    .. [1] B. Welch, "The generalization of 'Student's' problem when several different population
           variances are involved", Biometrika 34, 1947.
    .. [2] R. Newcombe, "Interval estimation for the difference between independent proportions:
           comparison of eleven methods", Statistics in Medicine 17, 1998.
    .. [3] Y. Benjamini and Y. Hochberg, "Controlling the false discovery rate: a practical and
           powerful approach to multiple testing", Journal of the Royal Statistical Society B 57,
           1995.
    .. [4] B. Monroe, M. Colaresi and K. Quinn, "Fightin' words: lexical feature selection and
           evaluation for identifying the content of political conflict", Political Analysis 16,
           2008.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sksae import SparseAutoencoderTransformer
    >>> from sksae.inspection import feature_table
    >>> X, y = load_wine(return_X_y=True, as_frame=True)
    >>> sae = SparseAutoencoderTransformer(
    ...     16, sparsity="topk", rho=3, max_iter=300, tol=0.1, random_state=0
    ... )
    >>> table = feature_table(make_pipeline(StandardScaler(), sae).fit(X), X, y)
    >>> best = table.sort_values("separation").iloc[-1]
    >>> best[["target_class", "label"]]  # doctest: +SKIP
    target_class                                       0
    label           total_phenols > 2.40 and proline > 630
    >>> bool(best.label_f1 > 0.8), bool(best.base_f1 > 0.8)
    (True, False)
    """
    subject = Subject(estimator, needed_by="feature_table")
    maker = TableMaker(
        subject,
        X,
        y,
        feature_names=feature_names,
        text=text,
        compare=compare,
        random_state=random_state,
    )
    return maker.table(survey(subject, X, also=maker.see))
