"""Exact codes, of which each unit adds its atom to the row that is made: passes by active entries.

Of wide codes few units are active. Only the encoder's product, and the choice of the largest, look
at all of them; decoder and gradients go through the entries that are kept, a hundredth of the work.
"""
