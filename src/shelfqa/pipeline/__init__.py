"""The whole road as one recipe, and the order in which its stages run."""
