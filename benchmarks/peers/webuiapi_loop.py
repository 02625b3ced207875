"""(c) The published `webuiapi` client in a loop; for jobs of txt2img alone."""

import json
import sys
import time
import warnings
from pathlib import Path
from urllib.parse import urlsplit

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import webuiapi

address, job, folder = urlsplit(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
api = webuiapi.WebUIApi(host=address.hostname, port=address.port)
for number, [[_, request]] in enumerate(json.loads(job.read_text()), 1):
    api.txt2img(**request).image.save(folder / f"{number:04}.png")
sys.stdout.write(json.dumps({"last": time.monotonic()}) + "\n")
