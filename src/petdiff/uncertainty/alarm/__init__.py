"""The alarm of a scan that is unlike those that a model was trained for, from the scan alone.

`features` describes a scan by a few numbers, `reference` compares them with those of ordinary
scans, `scale` says whether the scan's SUV can be right.
"""
