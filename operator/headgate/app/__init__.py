"""The composition root: the one place where adapters meet.

`engine` is the loop that every mode has: Store, compile, xDS, statuses. `standalone` is `headgate run`: the folder source,
the Envoys it starts (`fleet`), what it says (`announcer`) and what it leaves in the state directory (`ledger`).
"""
