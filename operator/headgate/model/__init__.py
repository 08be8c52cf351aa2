"""The nouns between: what the Store holds, the Snapshot that is compiled, the Plan that comes out."""
