"""Intervals of a denoised scan's figures, calibrated on simulated patients."""
