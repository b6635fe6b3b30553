"""The warehouse: connections, schema, the guarded load and the ledger of change sets."""
