"""How many random streams of reports a rule is tried on."""

import os

STREAMS = int(os.environ.get("TUNER_STREAMS", "400"))
"""`make fuzz` tries 10,000."""
