"""The HTML page of a study: one file that needs no network.

`page(studies, extras)` returns the whole page. `data(studies, extras)` returns only what its tables
and figures are drawn from, so that a page that is served can be kept alive:

- `to_json(data(…))` is the JSON of the page, compact and safe within a script element.
- In the page `report.update(data)` takes that JSON, parsed, and redraws what has changed in place.
  The selection, the order of tables and the position of the page stay.
- `page(…, script="…")` appends JavaScript that runs after the first drawing, such as one that asks
  the server for new data.
- `report.status(text)` shows a line at the top of the page, such as the time of the last row.

What the page shows beside the tables comes from later rooms, so the caller passes it as `Extras`.
`pictured(study)` names the images of which it wants pictures.
"""

from tuner.report.document import data, page, to_json
from tuner.report.extras import Extras
from tuner.report.pictures import data_uri
from tuner.report.predictions import pictured

__all__ = ["Extras", "data", "data_uri", "page", "pictured", "to_json"]
