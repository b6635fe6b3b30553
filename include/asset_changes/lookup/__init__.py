"""Asking Getty about assets: `enqueue` says which, `look_up` asks and keeps the answers."""
