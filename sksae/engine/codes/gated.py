"""Whether a unit is active, and how much, by two affine functions (Rajamanoharan et al. 2024).

https://arxiv.org/abs/2404.16014, "Improving dictionary learning with gated sparse autoencoders":

    pi = W z,    gate = [pi + b_gate > 0],    a = gate relu(exp(r) pi + b_mag).

Here p = pi + b_gate is what the encoder gives, so that b_gate is its bias, and the magnitude is
relu(exp(r) p + m) with b_mag = m + exp(r) b_gate. The penalty S is on what the gate lets through,
the mean over rows of the sum over units of relu(p), and does not shrink magnitudes. As the gate has
no gradient, rows are rebuilt a second time, from relu(p), and that error counts in J too; there the
decoder and its bias are held as they are (their equation 8).
"""

from torch import Tensor

from sksae.engine.codes.code import Active, Code, EntryGradients, Keeping, WayBack, entries_where
from sksae.engine.codes.l1 import L1


class Gated(Code):
    """Magnitudes of units whose gate is open; S is the mean over rows of the sum of relu(p)."""

    law = L1.law

    def active(self, pre: Tensor, keeping: Keeping) -> Active:
        found = entries_where(pre > 0.0, pre)
        units = found.units.long()
        gain, offset = keeping.units["log_gain"].exp(), keeping.units["offset"]
        magnitudes = (found.values * gain[units]).add_(offset[units]).clamp_(min=0.0)
        return found._replace(values=magnitudes, gates=found.values)

    def backward(self, active: Active, back: WayBack) -> EntryGradients:
        assert active.gates is not None
        assert back.gate_deltas is not None
        assert back.costs is not None
        deltas = back.deltas.mul_(active.values > 0.0)
        through_gain = deltas * back.units["log_gain"].exp()
        of_gates = back.gate_deltas.add_(back.costs)
        of_units = {"log_gain": through_gain * active.gates, "offset": deltas}
        return EntryGradients(of_gates.add_(through_gain), of_units)

    def price(self, n_active: Tensor, rho: Tensor, beta: Tensor) -> Tensor:
        return beta

    def entry_penalty(self, active: Active) -> Tensor | None:
        return active.gates


CODE = Gated
