"""Turn a product catalogue into a visual question answering model that knows its products."""

__version__ = "0.1.0"
