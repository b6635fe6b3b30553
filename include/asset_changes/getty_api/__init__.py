"""Getty's HTTP API: the client, its session, what its answers mean."""
