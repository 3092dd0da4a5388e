"""Structured pruning: channels, neurons and attention heads leave a model together with all that belongs to them.

`groups` says what can go, `importance` what matters least, `widths` how many stay, `cut` removes them, `compensate` mends what is left.
"""
