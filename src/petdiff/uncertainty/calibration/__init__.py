"""Intervals of a denoised scan's figures, calibrated on simulated patients."""

from petdiff.uncertainty.calibration.features import ScanFeatures as ScanFeatures
from petdiff.uncertainty.calibration.features import region_features as region_features
from petdiff.uncertainty.calibration.record import Calibration as Calibration
from petdiff.uncertainty.calibration.record import Interval as Interval
from petdiff.uncertainty.calibration.record import Refused as Refused
from petdiff.uncertainty.calibration.store import load_calibration as load_calibration
