"""The standalone source: a folder of YAML, read with positions, watched, and fed to the Store.

Text goes in at `document` (YAML with a line for every field), becomes typed objects or problems in `objects`, is joined
into one world in `folder`, and reaches the Store through `source`. Everything but `source` is pure or reads files only.
"""
