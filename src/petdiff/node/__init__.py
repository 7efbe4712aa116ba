"""petdiff as a DICOM node: series come in by C-STORE or DICOMweb, denoised series go out.

Everything that the node knows lies in folders, so that a kill loses nothing: `queue` says which.
docs/how-to/pacs.md describes the node for the people who run it.
"""
