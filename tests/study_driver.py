"""A driver that a test can kill, on the Ray instance at an address: `study_driver.py SPEC RESULTS ADDRESS`."""

import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

if __name__ == "__main__":
    import ray

    spec_file, results, address = sys.argv[1:]
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    from tests.trainables import StudiousTrial
    from tuner.spec import load_spec
    from tuner.study import StudyRun

    StudyRun(load_spec(spec_file), results, trainable=StudiousTrial).run()
