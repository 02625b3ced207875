import json, sys, time
from functools import partial
import pytest
from flows.run import main, app
from stableflows.sandbox import run_sandbox

@pytest.mark.parametrize("n", [1,2])
def test_x(running_server, monkeypatch, capsys, tmp_path, n):
    monkeypatch.setenv("PREFECT_API_URL", running_server.url)
    monkeypatch.setenv("PREFECT_HOME", str(running_server.home))
    with run_sandbox() as sandbox:
        t=time.monotonic()
        with pytest.raises(SystemExit) as e:
            main(partial(app, ["packs/demo.yaml", "--server", sandbox.url, "--out", str(tmp_path), "--json"]))
        got = capsys.readouterr()
        print(e.value.code, time.monotonic()-t, len(sandbox.generating()))
        print(got.err); print(got.out[:300])
