"""What is known of each provider, as data: profiles that fill what an UpstreamService leaves out.

compile reads profiles; nothing writes them. New ones plug in by entry point (`registry`)."""
