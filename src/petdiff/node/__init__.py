"""petdiff as a DICOM node: series come in by C-STORE or DICOMweb, denoised series go out.

The node keeps its state in folders (see `queue`), so that a kill loses no series.
docs/how-to/pacs.md describes the node for the people who run it.
"""
