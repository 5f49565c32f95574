"""A catalogue drawn from a seed, in the layout of Amazon Berkeley Objects: something to try every stage on."""

from shelfqa.catalogue.demo.write import DemoConfig, draw_catalogue

__all__ = ["DemoConfig", "draw_catalogue"]
