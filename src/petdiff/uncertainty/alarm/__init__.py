"""The alarm for a scan unlike those a model was trained for: out-of-distribution detection.

It needs the scan alone. `features` describes a scan by a few numbers. `reference` compares them
with those of ordinary scans (Mahalanobis distance) and checks whether the mean SUV is possible.
"""
