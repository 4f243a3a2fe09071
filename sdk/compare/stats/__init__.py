"""What measured times show, and how sure that is: quantiles, intervals from independent runs, paired differences."""

from .estimates import HIDDEN, Estimate, Rules, difference, estimate
from .quantiles import claimable, quantile, rank_bounds

__all__ = ["HIDDEN", "Estimate", "Rules", "claimable", "difference", "estimate", "quantile", "rank_bounds"]
