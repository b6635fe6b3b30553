"""The way of one change set: fetch, transform, load, confirm."""
