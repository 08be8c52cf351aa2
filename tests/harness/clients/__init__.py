"""The vendors' own clients behind one small interface, so that one test can be asked of each of them."""
