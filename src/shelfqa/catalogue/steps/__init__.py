"""The steps by which listings are selected; a recipe lists them in the order in which they act.

Each step is a small class of settings with a method that drops listings from a `Selection`, each with a reason.
"""

from __future__ import annotations

from shelfqa.catalogue.steps.base import Step
from shelfqa.catalogue.steps.comparing import (
    Cap,
    EveryType,
    ExactDuplicates,
    NearDuplicateMetadata,
    OnePerImage,
    OnePerProduct,
    OtherImageConsistency,
)
from shelfqa.catalogue.steps.judging import (
    AsciiOnly,
    Blocked,
    DescribeFromBulletPoints,
    RequiredFields,
    Richness,
    WantedLanguage,
)

__all__ = [
    "AnyStep",
    "AsciiOnly",
    "Blocked",
    "Cap",
    "DescribeFromBulletPoints",
    "EveryType",
    "ExactDuplicates",
    "NearDuplicateMetadata",
    "OnePerImage",
    "OnePerProduct",
    "OtherImageConsistency",
    "RequiredFields",
    "Richness",
    "Step",
    "WantedLanguage",
]

AnyStep = (
    WantedLanguage
    | RequiredFields
    | AsciiOnly
    | Blocked
    | Richness
    | ExactDuplicates
    | OtherImageConsistency
    | NearDuplicateMetadata
    | Cap
    | OnePerImage
    | OnePerProduct
    | EveryType
    | DescribeFromBulletPoints
)
