"""One folder for each target language, behind the protocol of `protocol.py`."""
