"""OFA (Wang et al. 2022, arXiv 2202.03052) for visual question answering: model, processor, weight conversion.

Importing this package imports no torch; its modules do.
"""
