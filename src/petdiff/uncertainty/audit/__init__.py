"""The audit of a denoised scan: what it shows without support in the measured one, or has lost.

`audit` compares the two at the scales of small lesions. `scales` blurs both, `noise` measures what
the scan's own noise allows, `places` turns a deviation into a p-value for all places looked at,
`findings` lists what is left. `confirmation` compares a finding with a scan of more dose.
"""
