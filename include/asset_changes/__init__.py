"""Keep a copy of the Getty Images catalogue right, from the Asset Changes API alone.

The way of one change set, each step a module of `pipeline`:

1. `fetch`: PUT hands out the next change set, `archive` keeps its body as received,
   `getty_api.parsing` reads it, and `warehouse.ledger` gets its row: fetched.
   (`redelivery` is for what rarely happens: the same set again, a longer one, one that a dead worker left.)
2. `transform`: what the deliveries of the set say becomes prepared rows: times, outcomes, counts.
3. `load`: one transaction writes log, states, evidence and the ledger: loaded (`warehouse.loader`, `warehouse.states`).
4. `confirm`: DELETE confirms to Getty that the set is received for good; the ledger: confirmed.
5. `catch_up` repeats these until Getty has nothing more; `replay` does 2 and 3 from the archive.

This package knows nothing of Airflow: it takes a client, an archive and a warehouse.
"""
