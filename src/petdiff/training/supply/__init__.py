"""Data loading: from scans, simulated or the user's own, to the patches of a training step.

A `VolumeSource` gives the full-dose and low-dose volumes of a number. `examples` computes what the
losses need from them and stores it as memory maps, `workers` does so ahead of training in other
processes, and `patches` cuts patches from the stored examples.
"""
