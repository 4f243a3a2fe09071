"""The statistics of measured times: quantiles, intervals from independent runs, and paired differences."""

from .estimates import HIDDEN, Estimate, Rules, difference, estimate
from .quantiles import claimable, quantile, rank_bounds

__all__ = ["HIDDEN", "Estimate", "Rules", "claimable", "difference", "estimate", "quantile", "rank_bounds"]
