"""Asking Getty what the assets are: what to ask, at which rate, and what is kept of the answer."""
