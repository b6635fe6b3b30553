"""Asking Getty what assets are: `enqueue` says which, `look_up` asks and keeps the answers."""
