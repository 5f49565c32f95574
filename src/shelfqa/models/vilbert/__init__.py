"""ViLBERT: two transformer streams, words and picture regions, that read each other by co-attention.

The architecture is that of arXiv 1908.02265 with the task tokens of arXiv 1912.02315 (12-in-1). Importing this package
imports no torch; its modules do.
"""

from __future__ import annotations
