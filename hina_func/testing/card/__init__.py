"""The report card: laws by optimizers, over whatever libraries are installed."""
