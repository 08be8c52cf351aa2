"""The Kubernetes API server: the only place that talks to it, in both directions.

In: `source` feeds the Store with what is declared. A periodic listing of everything (`listing`) is the truth; watches are
hints that make it known sooner: kopf's for objects of ours and namespaces (`hints`, in a thread of its own), a watch of
metadata alone for Secrets and ConfigMaps (`metadata`), of which only those that are referred to are read (`data`). `index`
decides what of all that is news.

Out, from the one replica that leads (`elector`): `status`, `objects` and `events`. What they write goes by server-side apply
under our own field manager. They look at `elector.Leadership` before each write.

`access` says how the API server is reached, `client` calls it, `resources` knows paths, `reading` makes values of documents.
"""
