"""The alarm for a scan that differs from those a model was trained for, from the scan alone.

`features` describes a scan by a few numbers, `reference` compares them with those of ordinary
scans, and checks whether the scan's mean SUV is possible.
"""
