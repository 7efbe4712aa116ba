"""The audit of a denoised scan: hallucinated foci, which the measured scan lacks, and lost ones.

`compare` compares both scans at the scales of small lesions. `scales` smooths them, `noise`
estimates the noise of their difference, `search_region` gives the p-value of a deviation at any
place, and `findings` lists the significant ones. `confirmation` compares a finding with a scan of a
higher dose.
"""
