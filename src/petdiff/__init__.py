"""petdiff: denoise whole-body PET with 3-D diffusion models. For research, not a medical device."""

__version__ = "0.1.0"
