"""Where the company keeps its files: folders and buckets, listed and deleted from by exact version."""
