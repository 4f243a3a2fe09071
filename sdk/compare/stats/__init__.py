"""The statistics of measured times: quantiles, intervals from independent runs, and paired differences."""

from .estimates import HIDDEN, Estimate, IntervalRules, difference, estimate
from .quantiles import claimable, quantile, rank_bounds

__all__ = ["HIDDEN", "Estimate", "IntervalRules", "claimable", "difference", "estimate", "quantile", "rank_bounds"]
