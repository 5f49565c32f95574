"""One offline page about a run, and the same in short for the terminal."""
