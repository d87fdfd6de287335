"""Takes docs/images/flower.png: the dashboard's page of calls, after a real run of the demo.

    python docs/make_flower_picture.py [PICTURE]

Needs what `make demo` needs, Chromium, and a font that has Chinese characters (Debian: chromium, fonts-wqy-zenhei).
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "images" / "flower.png"

#: Of examples/requests.jsonl: one of each kind, as many as a page has rows for. The last ones stand first.
REQUESTS = (
    *("r001", "r010", "r021", "r033", "r045", "r062", "r083", "r096", "r118", "r130", "r166", "r196"),
    *("r214", "r125", "r247", "r199", "r206", "r150", "r242"),
)
#: CSS pixels, as wide as the page ever gets, and how many of the picture's make one.
PAGE, SCALE = (1910, 1070), 0.76
MAX_BYTES = 200_000
_SETTLED_SECONDS = 3.0


def main() -> None:
    """Run the demo, take the picture, and end what was started."""
    picture = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else PICTURE
    chromium = shutil.which("chromium") or sys.exit("chromium is not installed")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {**os.environ, "DISPATCHER_STATE_DIR": str(folder / "state"), "DISPATCHER_FLOWER_PORT": "0"}
        with demo(folder, environment) as flower:
            keep_busy(environment)
            password = Path(flower["password_file"]).read_text().strip()
            address = flower["address"].replace("://", f"://{flower['user']}:{password}@")
            shoot(chromium, f"{address}/tasks", picture, folder / "browser")
    size = picture.stat().st_size
    if size > MAX_BYTES:
        sys.exit(f"{picture} has {size} bytes, more than {MAX_BYTES}")
    print(f"{picture}: {size} bytes")


@contextmanager
def demo(folder: Path, environment: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The demo, kept running after its requests; gives where the dashboard is."""
    lines = (ROOT / "examples" / "requests.jsonl").read_text("utf-8").splitlines()
    by_id = {json.loads(line)["id"]: line for line in lines if line}
    requests = folder / "requests.jsonl"
    requests.write_text("".join(by_id[name] + "\n" for name in REQUESTS), "utf-8")
    command = [sys.executable, "-m", "dispatcher", "demo", "--keep", "--json", "--requests", str(requests)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)  # noqa: S603
    try:
        yield read_json(process.stdout or ())["flower"]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate()


def read_json(stream: Iterable[str]) -> dict[str, Any]:
    """The first JSON object of lines that have no end."""
    text = ""
    for line in stream:
        text += line
        if line.rstrip() == "}":
            found: dict[str, Any] = json.loads(text)
            return found
    sys.exit(f"the demo ended without its report: {text}")


def keep_busy(environment: Mapping[str, str]) -> None:
    """Calls in other states: one that was cancelled, one that runs."""
    ids = []
    for arguments in ("seconds=30", "label=tea"), ("seconds=45", "label=eggs"):
        command = [sys.executable, "-m", "dispatcher", "call", "dates.timer", *arguments, "--no-wait", "--json"]
        said = subprocess.check_output(command, cwd=ROOT, env=environment)  # noqa: S603
        ids.append(json.loads(said)["job_id"])
    time.sleep(1)
    command = [sys.executable, "-m", "dispatcher", "cancel", ids[0]]
    subprocess.check_call(command, cwd=ROOT, env=environment)  # noqa: S603
    time.sleep(_SETTLED_SECONDS)


def shoot(chromium: str, address: str, picture: Path, profile: Path) -> None:
    """Load a page and take its picture."""
    picture.parent.mkdir(parents=True, exist_ok=True)
    options = [
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
        *(f"--user-data-dir={profile}", f"--window-size={PAGE[0]},{PAGE[1]}", f"--force-device-scale-factor={SCALE}"),
        *("--virtual-time-budget=8000", f"--screenshot={picture}"),
    ]
    subprocess.run([chromium, *options, address], check=True, capture_output=True, timeout=120)  # noqa: S603


if __name__ == "__main__":
    main()
